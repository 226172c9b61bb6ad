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
