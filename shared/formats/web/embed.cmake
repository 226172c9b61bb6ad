# cmake -DIN=file -DOUT=file.c -DNAME=symbol -P embed.cmake: a text file as a C string.
file(READ ${IN} hex HEX)
string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "((0x..,){16})" "\\1\n" bytes "${bytes}")
file(WRITE ${OUT} "#include \"shared/formats/svg.h\"\nconst char ${NAME}[] = {\n${bytes}0};\n")
