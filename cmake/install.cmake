# What `make install` and the Debian packages hold. One component is one package: podspy (the agent
# and the command line) and podspy-collector. The programs are installed where they are built.
set(units lib/systemd/system)
set(config ${CMAKE_INSTALL_FULL_SYSCONFDIR}/podspy)

# spy_install_config(COMPONENT FILE): an example that becomes the user's own: never overwritten.
function(spy_install_config component file)
  install(CODE "
    if(NOT EXISTS \"\$ENV{DESTDIR}${config}/${file}\")
      file(INSTALL DESTINATION \"${config}\" TYPE FILE PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ
           FILES \"${CMAKE_SOURCE_DIR}/cmake/config/${file}\")
    endif()" COMPONENT ${component})
endfunction()

# spy_install_completion(COMPONENT PROGRAM BASH ZSH FISH): where each shell looks for them.
function(spy_install_completion component program bash zsh fish)
  set(data ${CMAKE_INSTALL_DATAROOTDIR})
  install(FILES ${bash} DESTINATION ${data}/bash-completion/completions RENAME ${program}
          COMPONENT ${component})
  # Debian's zsh looks into vendor-completions below /usr and into site-functions below /usr/local.
  set(zsh_folder site-functions)
  if(CMAKE_INSTALL_PREFIX STREQUAL "/usr")
    set(zsh_folder vendor-completions)
  endif()
  install(FILES ${zsh} DESTINATION ${data}/zsh/${zsh_folder} RENAME _${program}
          COMPONENT ${component})
  install(FILES ${fish} DESTINATION ${data}/fish/vendor_completions.d RENAME ${program}.fish
          COMPONENT ${component})
endfunction()

# spy_install_service(COMPONENT UNIT): the systemd unit, and what a package does about it.
function(spy_install_service component unit)
  configure_file(cmake/systemd/${unit}.service.in ${CMAKE_BINARY_DIR}/systemd/${unit}.service @ONLY)
  install(FILES ${CMAKE_BINARY_DIR}/systemd/${unit}.service DESTINATION ${units}
          COMPONENT ${component})
  foreach(script postinst prerm postrm)
    configure_file(cmake/debian/${script}.in ${CMAKE_BINARY_DIR}/debian/${component}/${script} @ONLY
                   FILE_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE
                                    WORLD_READ WORLD_EXECUTE)
  endforeach()
endfunction()

# spy_install_documents(COMPONENT MAN_PAGES...)
function(spy_install_documents component)
  foreach(page ${ARGN})
    get_filename_component(section ${page} LAST_EXT)
    string(SUBSTRING ${section} 1 1 section)
    install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section} COMPONENT ${component})
  endforeach()
  install(FILES ${CMAKE_SOURCE_DIR}/LICENSE RENAME copyright COMPONENT ${component}
          DESTINATION ${CMAKE_INSTALL_DATAROOTDIR}/doc/${component})
endfunction()

# spy_install_package(COMPONENT SUMMARY DESCRIPTION CONFIG): its Debian package.
macro(spy_install_package component summary description config_file)
  string(TOUPPER ${component} upper)
  set(CPACK_DEBIAN_${upper}_PACKAGE_NAME ${component})
  set(CPACK_DEBIAN_${upper}_DESCRIPTION "${summary}\n${description}")
  set(CPACK_COMPONENT_${upper}_DESCRIPTION "${summary}\n${description}")
  set(CPACK_DEBIAN_${upper}_PACKAGE_SHLIBDEPS ON)
  file(WRITE ${CMAKE_BINARY_DIR}/debian/${component}/conffiles "${config}/${config_file}\n")
  set(scripts ${CMAKE_BINARY_DIR}/debian/${component})
  set(CPACK_DEBIAN_${upper}_PACKAGE_CONTROL_EXTRA
      "${scripts}/conffiles;${scripts}/postinst;${scripts}/prerm;${scripts}/postrm")
  list(APPEND CPACK_COMPONENTS_ALL ${component})
endmacro()

# --- podspy ---
file(GLOB pages CONFIGURE_DEPENDS docs/man/podspy*.[1-8])
set(collector_pages ${pages})
list(FILTER collector_pages INCLUDE REGEX "/podspy-collector")
list(FILTER pages EXCLUDE REGEX "/podspy-collector")

set(completions)
foreach(shell bash zsh fish)
  set(out ${CMAKE_BINARY_DIR}/completions/podspy.${shell})
  add_custom_command(OUTPUT ${out} DEPENDS podspy
    COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/completions
    COMMAND podspy completions ${shell} > ${out} VERBATIM)
  list(APPEND completions ${out})
endforeach()
add_custom_target(completions ALL DEPENDS ${completions})
spy_install_completion(podspy podspy ${completions})
spy_install_config(podspy agent.yaml)
spy_install_service(podspy podspy-agent)
spy_install_documents(podspy ${pages})
set(CPACK_DEBIAN_PODSPY_PACKAGE_SUGGESTS "python3, kubernetes-client") # of the plugin
install(PROGRAMS ${CMAKE_SOURCE_DIR}/deploy/k8s/kubectl-podspy DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT podspy)
spy_install_package(podspy "out-of-process profiler for Python services: agent and command line"
"podspy reads the stacks of running Python programs from outside, without\n\
changing or restarting them. It records flamegraphs of one process and, as an\n\
agent, samples every opted-in service of a node and pushes the profiles to a\n\
podspy-collector or to any OpenTelemetry backend that takes profiles." agent.yaml)

# --- podspy-collector ---
if(TARGET podspy-collector)
  set(by_hand ${CMAKE_SOURCE_DIR}/cmake/completions/podspy-collector)
  spy_install_completion(podspy-collector podspy-collector
                         ${by_hand}.bash ${by_hand}.zsh ${by_hand}.fish)
  spy_install_config(podspy-collector collector.yaml)
  spy_install_service(podspy-collector podspy-collector)
  spy_install_documents(podspy-collector ${collector_pages})
  spy_install_package(podspy-collector "store and server of the profiles that podspy agents push"
"It takes profiles over HTTPS, keeps them by pod and process and answers with\n\
flamegraphs, speedscope profiles, collapsed stacks and JSON." collector.yaml)
endif()

# --- CPack ---
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME podspy)
set(CPACK_PACKAGE_VENDOR "The podspy authors")
set(CPACK_PACKAGE_CONTACT "The podspy authors <podspy@localhost>")
set(CPACK_STRIP_FILES ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION devel)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
include(CPack)
