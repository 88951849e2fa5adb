# Install rules and the CMake package: find_package(frieze) gives frieze::frieze and frieze::models.
option(FRIEZE_INSTALL "Install headers, libraries, program and CMake package" ${PROJECT_IS_TOP_LEVEL})
if(NOT FRIEZE_INSTALL)
  return()
endif()
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# What users and authors of layers include. Those of own kernels get core/cuda with it; what is internal stays here.
set(headers FILES_MATCHING PATTERN "*.h" PATTERN "simd" EXCLUDE PATTERN "passes" EXCLUDE PATTERN "graph/cuda" EXCLUDE
    PATTERN "layers/*/cuda" EXCLUDE PATTERN "graph/executor.h" EXCLUDE PATTERN "graph/text_table.h" EXCLUDE
    PATTERN "graph/memory_text.h" EXCLUDE PATTERN "graph/step_times.h" EXCLUDE PATTERN "graph/report_style.h" EXCLUDE
    PATTERN "core/cuda/gemm_kernels.h" EXCLUDE PATTERN "core/cuda/cudnn_*.h" EXCLUDE)
if(FRIEZE_WITH_CUDA)
  list(APPEND headers PATTERN "*.cuh")
else()
  list(APPEND headers PATTERN "core/cuda" EXCLUDE)
endif()
install(DIRECTORY core layers graph models DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/frieze ${headers})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

set(libraries frieze_lib frieze_cpu)
foreach(library cuda models)
  if(TARGET frieze_${library})
    list(APPEND libraries frieze_${library})
  endif()
endforeach()
foreach(library ${libraries})
  if(NOT library STREQUAL "frieze_lib")  # frieze_cpu -> frieze::cpu, as in the build tree
    string(REPLACE "frieze_" "" name ${library})
    set_target_properties(${library} PROPERTIES EXPORT_NAME ${name})
  endif()
endforeach()
install(TARGETS ${libraries} EXPORT frieze-targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
        INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
if(TARGET frieze)
  install(TARGETS frieze RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/frieze)
install(EXPORT frieze-targets NAMESPACE frieze:: DESTINATION ${package})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/frieze-config.cmake.in ${PROJECT_BINARY_DIR}/frieze-config.cmake
                              INSTALL_DESTINATION ${package})
# Before 1.0 a minor version may break its users.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/frieze-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/frieze-config.cmake ${PROJECT_BINARY_DIR}/frieze-config-version.cmake DESTINATION ${package})
