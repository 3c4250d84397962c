# cmake --install BUILD --prefix P: libraries, headers, a package for find_package(karec), and karec.pc.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

install(TARGETS karec karec_shared EXPORT karecTargets
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT development
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT runtime NAMELINK_COMPONENT development)
install(DIRECTORY include/karec DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" COMPONENT development)

install(DIRECTORY examples DESTINATION "${CMAKE_INSTALL_DATADIR}/karec" COMPONENT documentation)

set(KAREC_PACKAGE_DIR "${CMAKE_INSTALL_LIBDIR}/cmake/karec")
install(EXPORT karecTargets NAMESPACE karec:: DESTINATION "${KAREC_PACKAGE_DIR}" COMPONENT development)
configure_package_config_file(cmake/karecConfig.cmake.in "${CMAKE_CURRENT_BINARY_DIR}/karecConfig.cmake"
  INSTALL_DESTINATION "${KAREC_PACKAGE_DIR}")
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/karecConfigVersion.cmake"
  COMPATIBILITY SameMajorVersion)
# Relative to the folder of karec.pc, because `cmake --install --prefix` may choose any.
file(RELATIVE_PATH KAREC_PC_INCLUDEDIR "/root/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/root/${CMAKE_INSTALL_INCLUDEDIR}")
configure_file(cmake/karec.pc.in "${CMAKE_CURRENT_BINARY_DIR}/karec.pc" @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/karecConfig.cmake" "${CMAKE_CURRENT_BINARY_DIR}/karecConfigVersion.cmake"
  DESTINATION "${KAREC_PACKAGE_DIR}" COMPONENT development)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/karec.pc"
  DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig" COMPONENT development)
