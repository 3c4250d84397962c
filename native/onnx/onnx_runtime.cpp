#include "onnx_runtime.hpp"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <map>
#include <memory>
#include <mutex>
#include <system_error>

namespace karec {
namespace {

constexpr int kOldest = 18;  // what Python's karec asks for, too

// The minor version of "1.x.y". Asked for an API newer than its own, ONNX Runtime prints to stderr.
int version_of(const OrtApiBase& base) {
    const std::string text = base.GetVersionString();  // "1.21.0"
    const std::size_t dot = text.find('.');
    int minor = kOldest;
    if (text.starts_with("1.")) std::from_chars(text.data() + dot + 1, text.data() + text.size(), minor);
    return minor;
}

void silent(void*, OrtLoggingLevel, const char*, const char*, const char*, const char*) {}

Result<const OnnxRuntime*> load(const std::string& library) {
    // dlopen() gives no errno: look first. A name without a slash is searched for in its own folders.
    if (library.find('/') != std::string::npos && ::access(library.c_str(), R_OK) != 0) {
        const int error = errno;
        return Status{Code::io_error,
                      "cannot open ONNX Runtime '" + library + "': " + std::system_category().message(error), error};
    }
    void* handle = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (handle == nullptr) {
        const char* why = ::dlerror();  // NOLINT(concurrency-mt-unsafe): it is of this thread
        return Status{Code::io_error, "cannot open ONNX Runtime: " + std::string(why == nullptr ? library : why)};
    }
    using GetBase = const OrtApiBase* (*)();
    const auto get_base = reinterpret_cast<GetBase>(::dlsym(handle, "OrtGetApiBase"));
    if (get_base == nullptr) return Status::bad_format(library + " is not ONNX Runtime: it has no OrtGetApiBase");
    const OrtApiBase* base = get_base();
    if (base == nullptr) return Status::bad_format(library + " is not ONNX Runtime: its OrtGetApiBase() gives NULL");
    const int version = std::min(version_of(*base), ORT_API_VERSION);
    const OrtApi* api = version < kOldest ? nullptr : base->GetApi(static_cast<std::uint32_t>(version));
    if (api == nullptr) {
        return Status{Code::unavailable, library + " is ONNX Runtime " + base->GetVersionString() + ", needed is 1." +
                                             std::to_string(kOldest) + " or newer"};
    }
    auto runtime = std::make_unique<OnnxRuntime>();
    runtime->api = api;
    OrtStatus* status =
        api->CreateEnvWithCustomLogger(silent, nullptr, ORT_LOGGING_LEVEL_FATAL, "karec", &runtime->env);
    if (status != nullptr) return runtime->status_of(status, Code::unavailable, library);
    return static_cast<const OnnxRuntime*>(runtime.release());
}

}  // namespace

Result<const OnnxRuntime*> OnnxRuntime::open(const std::string& library) {
    static std::mutex opening;
    // Never destroyed: sessions may outlive every static of this library.
    static auto* const opened = new std::map<std::string, const OnnxRuntime*>;
    const std::scoped_lock lock(opening);
    if (const auto found = opened->find(library); found != opened->end()) return found->second;
    auto runtime = load(library);
    if (runtime.ok()) opened->emplace(library, runtime.value());
    return runtime;
}

Status OnnxRuntime::status_of(OrtStatus* status, Code code, const std::string& what) const {
    if (status == nullptr) return {};
    std::string message = what + ": " + api->GetErrorMessage(status);
    api->ReleaseStatus(status);
    return {code, std::move(message)};
}

}  // namespace karec
