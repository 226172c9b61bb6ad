# cmake -DINFOCMP=program -DOUT=file.c -DNAMES=a,b -P terminals.cmake: their compiled terminfo entries as
# the table of terminals.h.
string(REPLACE "," ";" names ${NAMES})
set(rows "")
foreach(name ${names})
  execute_process(COMMAND ${INFOCMP} -0 -Q2 ${name} OUTPUT_VARIABLE said COMMAND_ERROR_IS_FATAL ANY)
  if(NOT said MATCHES "(b64:[A-Za-z0-9+/=_-]+)")
    message(FATAL_ERROR "${INFOCMP} -Q2 ${name} prints no compiled entry")
  endif()
  string(APPEND rows "    {\"${name}\", \"${CMAKE_MATCH_1}\"},\n")
endforeach()
file(WRITE ${OUT} "#include \"agent/top/terminals.h\"\n\nconst struct spy_top_terminal spy_top_terminals[] = {\n${rows}    {0}};\n")
