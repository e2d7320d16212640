# For `colcon build` against the ROS 2 wheels of PyPI: their generated Python targets export include folders of the machine that
# built them, which CMake refuses where they do not exist. Nobody needs them: Python modules have no headers.
function(forget_include_folders_of_python_targets)
  get_property(imported DIRECTORY PROPERTY IMPORTED_TARGETS)
  foreach(target IN LISTS imported)
    if(target MATCHES "__rosidl_generator_py$")
      set_property(TARGET ${target} PROPERTY INTERFACE_INCLUDE_DIRECTORIES "")
    endif()
  endforeach()
endfunction()
cmake_language(DEFER CALL forget_include_folders_of_python_targets)
