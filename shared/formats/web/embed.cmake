# cmake -DIN=file -DOUT=file.c -DNAME=symbol -P embed.cmake: a text file as a C string. It goes into every
# flamegraph, so indents, lines that are comments (//) and spaces around operators are left out: no
# string of the script may hold an operator between spaces, and no style calc().
file(READ ${IN} text)
string(REGEX REPLACE "\n +" "\n" text "\n${text}")
string(REGEX REPLACE "\n//[^\n]*" "" text "${text}")
string(REGEX REPLACE "^\n+" "" text "${text}")
string(REGEX REPLACE " ([-=<>!&|?:+*/{}]+) " "\\1" text "${text}")
string(REGEX REPLACE "([,:\;]) ([^'\"])" "\\1\\2" text "${text}")
string(HEX "${text}" hex)
string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "((0x..,){16})" "\\1\n" bytes "${bytes}")
file(WRITE ${OUT} "#include \"shared/formats/svg.h\"\nconst char ${NAME}[] = {\n${bytes}0};\n")
