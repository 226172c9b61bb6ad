# Every outside library, by its pkg-config name. docs/adr/0002 says why each was chosen.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(CURL REQUIRED IMPORTED_TARGET libcurl)
pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-0.1)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(MHD REQUIRED IMPORTED_TARGET libmicrohttpd)
pkg_check_modules(GNUTLS REQUIRED IMPORTED_TARGET gnutls)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)
pkg_check_modules(DEFLATE REQUIRED IMPORTED_TARGET libdeflate)

# spy_both(NAME MODULE LIBRARY): SPY::NAME is the shared library, and for an executable with the property
# PODSPY_STATIC the archive of the same package.
function(spy_both name module library)
  pkg_check_modules(${name} REQUIRED IMPORTED_TARGET GLOBAL ${module})
  find_library(${name}_ARCHIVE lib${library}.a HINTS ${${name}_LIBRARY_DIRS} REQUIRED)
  add_library(SPY::${name} INTERFACE IMPORTED GLOBAL)
  target_link_libraries(SPY::${name} INTERFACE
    $<IF:$<BOOL:$<TARGET_PROPERTY:PODSPY_STATIC>>,${${name}_ARCHIVE},PkgConfig::${name}>)
endfunction()
spy_both(ZSTD libzstd zstd)
spy_both(ZLIB zlib z)
spy_both(PCRE2 libpcre2-8 pcre2-8)
spy_both(XXHASH libxxhash xxhash)
spy_both(PROTOBUFC libprotobuf-c protobuf-c)
spy_both(LZMA liblzma lzma)
spy_both(NCURSESW ncursesw ncursesw)
spy_both(TINFO tinfo tinfo)

# libiberty has no pkg-config file.
find_library(IBERTY_LIBRARY iberty REQUIRED)
find_path(IBERTY_INCLUDE_DIR libiberty/demangle.h REQUIRED)
add_library(IBERTY::IBERTY UNKNOWN IMPORTED)
set_target_properties(IBERTY::IBERTY PROPERTIES IMPORTED_LOCATION ${IBERTY_LIBRARY}
                      INTERFACE_INCLUDE_DIRECTORIES ${IBERTY_INCLUDE_DIR})
if(PODSPY_TESTS)
  pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
endif()
