// The C interface: versions and the last error of each thread.
#include <cstdio>

#include "c_api/arguments.hpp"

namespace karec::c {
namespace {

// A fixed array: storing a message must not allocate.
thread_local char last_error[1024] = "";
thread_local std::int32_t last_system_error = 0;

static_assert(static_cast<int>(Code::ok) == KAREC_OK);
static_assert(static_cast<int>(Code::invalid_argument) == KAREC_INVALID_ARGUMENT);
static_assert(static_cast<int>(Code::bad_format) == KAREC_BAD_FORMAT);
static_assert(static_cast<int>(Code::io_error) == KAREC_IO_ERROR);
static_assert(static_cast<int>(Code::out_of_memory) == KAREC_OUT_OF_MEMORY);
static_assert(static_cast<int>(Code::unavailable) == KAREC_UNAVAILABLE);
static_assert(static_cast<int>(DType::int8) == KAREC_INT8 && static_cast<int>(DType::boolean) == KAREC_BOOL);

}  // namespace

karec_status store_error(const Status& status) noexcept {
    const char* message = status.code() == Code::out_of_memory ? "out of memory" : status.message().c_str();
    std::snprintf(last_error, sizeof last_error, "%s", message);
    last_system_error = status.system_error();
    return static_cast<karec_status>(status.code());
}

}  // namespace karec::c

uint32_t karec_abi_version(void) {
    return KAREC_ABI_VERSION;
}
const char* karec_version(void) {
    return KAREC_VERSION;
}
const char* karec_isa(void) {
    return karec::active_isa().data();  // of a string literal
}
const char* karec_last_error(void) {
    return karec::c::last_error;
}
int32_t karec_last_system_error(void) {
    return karec::c::last_system_error;
}
