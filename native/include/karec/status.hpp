// Status and Result: the errors of karec's C++ functions, with a code for programs and a message for people.
#pragma once

#include <optional>
#include <string>
#include <utility>

namespace karec {

enum class Code {
    ok,
    invalid_argument,  // a mistake of the caller; nothing was changed
    bad_format,        // a file is truncated, altered or of another format
    io_error,          // the operating system failed; Status::system_error() is its errno
    out_of_memory,
    unavailable,  // something required is missing: a library, a user vector, a thread
};

class [[nodiscard]] Status {
  public:
    Status() = default;
    Status(Code code, std::string message, int system_error = 0)
        : code_(code), system_error_(system_error), message_(std::move(message)) {}

    static Status invalid(std::string message) { return {Code::invalid_argument, std::move(message)}; }
    static Status bad_format(std::string message) { return {Code::bad_format, std::move(message)}; }

    bool ok() const noexcept { return code_ == Code::ok; }
    Code code() const noexcept { return code_; }
    int system_error() const noexcept { return system_error_; }
    const std::string& message() const noexcept { return message_; }

  private:
    Code code_ = Code::ok;
    int system_error_ = 0;
    std::string message_;
};

// A value, or the Status that explains why it is missing. Call value() and -> only if ok().
template <class T>
class [[nodiscard]] Result {
  public:
    Result(T value) : value_(std::move(value)) {}
    Result(Status status) : status_(std::move(status)) {}

    bool ok() const noexcept { return value_.has_value(); }
    const Status& status() const noexcept { return status_; }
    T& value() noexcept { return *value_; }
    const T& value() const noexcept { return *value_; }
    T* operator->() noexcept { return &*value_; }
    const T* operator->() const noexcept { return &*value_; }

  private:
    Status status_;
    std::optional<T> value_;
};

}  // namespace karec
