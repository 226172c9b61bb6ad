# How everything here is compiled: one language level, one set of warnings, one switch for sanitizers.
set(CMAKE_C_STANDARD 17)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

option(PODSPY_TESTS "build the tests" ON)
option(PODSPY_WERROR "warnings are errors" OFF)
option(PODSPY_FUZZ "build the libFuzzer targets (clang)" OFF)
set(PODSPY_SANITIZE "" CACHE STRING "sanitizers for -fsanitize=, e.g. address,undefined")

add_compile_definitions(_GNU_SOURCE PODSPY_VERSION="${PROJECT_VERSION}")
add_compile_options(-Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes
                    -Wvla -fno-strict-aliasing)
if(PODSPY_WERROR)
  add_compile_options(-Werror)
endif()
if(PODSPY_SANITIZE)
  add_compile_options(-fsanitize=${PODSPY_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${PODSPY_SANITIZE})
endif()
if(PODSPY_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
add_compile_options($<$<NOT:$<CONFIG:Debug>>:-D_FORTIFY_SOURCE=2> -fstack-protector-strong)
add_link_options(-Wl,-z,relro -Wl,-z,now) # nothing that a jump goes through stays writable
include_directories(${CMAKE_SOURCE_DIR})

# spy_library(NAME SOURCES... [LIBS ...]): one room is one static library, named after its folder.
function(spy_library name)
  cmake_parse_arguments(ROOM "" "" "LIBS" ${ARGN})
  add_library(${name} STATIC ${ROOM_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PUBLIC ${ROOM_LIBS})
endfunction()

# spy_protobuf_library(NAME STEM): the messages of proto/STEM.proto; #include "STEM.pb-c.h".
function(spy_protobuf_library name stem)
  find_program(PROTOC_C protoc-c REQUIRED)
  set(generated ${CMAKE_CURRENT_BINARY_DIR}/${stem}.pb-c.c ${CMAKE_CURRENT_BINARY_DIR}/${stem}.pb-c.h)
  add_custom_command(OUTPUT ${generated} DEPENDS proto/${stem}.proto
    COMMAND ${PROTOC_C} --c_out=${CMAKE_CURRENT_BINARY_DIR} -I${CMAKE_CURRENT_SOURCE_DIR}/proto ${stem}.proto)
  # Generated code is not held to our warnings.
  add_library(${name} STATIC ${generated})
  target_include_directories(${name} SYSTEM PUBLIC ${CMAKE_CURRENT_BINARY_DIR})
  target_link_libraries(${name} PUBLIC SPY::PROTOBUFC)
  target_compile_options(${name} PRIVATE -w)
endfunction()
