// A current ClickHouse engine behind the part of ClickHouse's HTTP interface that the collector uses:
// node chdb_server.js FOLDER prints the port. The engine is npm's chdb, which runs in this process and
// serves no HTTP of its own. Each statement is run as it came; the rows of an INSERT and an external
// table, which a server reads from the request, are read from a file.
"use strict";
const fs = require("fs");
const http = require("http");
const path = require("path");
const { Session } = require("chdb");

const folder = process.argv[2];
const session = new Session(path.join(folder, "data"));
let n_files = 0;

function writeFile(bytes) {
    const name = path.join(folder, `rows${n_files++}`);
    fs.writeFileSync(name, bytes);
    return name;
}

// The one part of a form that the collector sends.
function partOf(body, type) {
    const boundary = /boundary=(.+)$/.exec(type)[1];
    const begin = body.indexOf("\r\n\r\n") + 4;
    return body.subarray(begin, body.lastIndexOf(`\r\n--${boundary}--`));
}

function structureOf(table, columns) {
    const types = new Map(session.query(`DESCRIBE TABLE ${table}`, "TSV").trim().split("\n")
        .map((line) => line.split("\t").slice(0, 2)));
    return columns.split(",").map((c) => `${c.trim()} ${types.get(c.trim())}`).join(", ");
}

function insert(sql, body) {
    const [, table, columns] = /^INSERT INTO (\w+) \((.*)\) FORMAT RowBinary$/s.exec(sql);
    const file = writeFile(body);
    session.query(`INSERT INTO ${table} (${columns}) SELECT * FROM ` +
                  `file('${file}', 'RowBinary', '${structureOf(table, columns)}')`);
    fs.unlinkSync(file);
}

async function select(sql, body, type, structure) {
    const file = structure && writeFile(partOf(body, type));
    if (structure) {
        session.query("DROP TEMPORARY TABLE IF EXISTS picked");
        session.query(`CREATE TEMPORARY TABLE picked (${structure})`);
        session.query(`INSERT INTO picked SELECT * FROM file('${file}', 'RowBinary', '${structure}')`);
        fs.unlinkSync(file);
    }
    return (await session.queryAsync(sql)).bytes();
}

async function answer(url, body, type) {
    const asked = url.searchParams, sql = asked.get("query");
    session.query(`USE ${asked.get("database") ?? "default"}`);
    for (const name of ["max_execution_time", "max_memory_usage"])
        session.query(`SET ${name} = ${asked.get(name) ?? 0}`);
    if (/ FORMAT RowBinary$/.test(sql) && sql.startsWith("INSERT"))
        return insert(sql, body);
    if (/ FORMAT RowBinary$/.test(sql))
        return select(sql, body, type, asked.get("picked_structure"));
    session.query(sql);
}

let before = Promise.resolve(); // the session runs one statement at a time
const server = http.createServer((request, response) => {
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => {
        before = before.then(async () => {
            try {
                const bytes = await answer(new URL(request.url, "http://localhost"),
                                           Buffer.concat(chunks), request.headers["content-type"]);
                response.end(bytes ?? "");
            } catch (e) {
                const text = /Code: \d+.*/s.exec(e.message)?.[0] ?? e.message;
                process.stderr.write(`${text}\n`);
                response.writeHead(500).end(text);
            }
        });
    });
});
server.listen(0, "127.0.0.1", () => {
    const version = session.query("SELECT version()", "TSV").trim();
    process.stdout.write(`${server.address().port} ${version}\n`);
});
