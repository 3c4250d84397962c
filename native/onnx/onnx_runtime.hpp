// ONNX Runtime, from a library that is opened at run time.
#pragma once

#include <mutex>
#include <string>

#include "karec/status.hpp"
#include "onnx_api.hpp"

namespace karec {

// The functions of the library, and its environment. Never destroyed.
struct OnnxRuntime {
    onnx::Api api;
    onnx::Env* env = nullptr;

    // Holds a lock: one thread at a time opens a library or loads a model, and fork() waits for it. Otherwise a child
    // could wait forever for an initialisation in ONNX Runtime that another thread of its parent began.
    class Loading {
      public:
        Loading();
        // Opens each path once and never closes it: ONNX Runtime crashes if it is unloaded while its threads run.
        Result<const OnnxRuntime*> open(const std::string& library);

      private:
        std::scoped_lock<std::mutex> lock_;
    };

    // Releases `status`. Returns ok for nullptr, else `code` with "<name>: <message of status>".
    Status status_of(onnx::Status* status, Code code, const std::string& name) const;

  private:
    struct Libraries;
};

}  // namespace karec
