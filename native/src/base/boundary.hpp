// Every public function runs its body through at_boundary, so that no exception leaves it.
#pragma once

#include "karec/status.hpp"

namespace karec {

// The Status of the exception that is handled now: out_of_memory for bad_alloc and length_error, io_error with the
// errno for system_error, unavailable for any other. Call it in a catch block.
Status status_from_current_exception() noexcept;

// `body` returns a Status or a Result.
template <class Body>
auto at_boundary(Body&& body) noexcept -> decltype(body()) {
    try {
        return body();
    } catch (...) {
        return status_from_current_exception();
    }
}

}  // namespace karec
