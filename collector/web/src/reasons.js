// reasons.js - why a row has no data, or lacks some, and what changes it.
export function reasonOf(row) {
  if (row.problem) return row.problem;
  if (row.samples) return null;
  const {quality} = row;
  if (quality?.failed) return 'Its samples could not be read. `podspy doctor -p PID` on the node says why.';
  if (quality?.lost) return 'Its samples were lost on the way. The log of the agent on its node says where.';
  return 'It has not been sampled in this time. Choose a longer time.';
}
