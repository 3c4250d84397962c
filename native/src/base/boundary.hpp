// Every public function runs its body through at_boundary: an exception (only allocation throws) becomes a Status.
#pragma once

#include <new>
#include <stdexcept>

#include "karec/status.hpp"

namespace karec {

template <class Body>
auto at_boundary(Body&& body) noexcept -> decltype(body()) {
    try {
        return body();
    } catch (const std::bad_alloc&) {
        return Status{Code::out_of_memory, "out of memory"};
    } catch (const std::length_error&) {
        return Status{Code::out_of_memory, "out of memory"};
    }
}

}  // namespace karec
