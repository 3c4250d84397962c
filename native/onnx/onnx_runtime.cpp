#include "onnx_runtime.hpp"

#include <dlfcn.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <map>
#include <memory>
#include <system_error>

#include "base/at_fork.hpp"

namespace karec {
namespace {

void ignore_log(void*, int, const char*, const char*, const char*, const char*) {}

// True for "1.x.y" with x below kVersion. ONNX Runtime prints to stderr if it lacks the interface version that is
// requested, so its version is read first.
bool is_older(const std::string& version) noexcept {
    int minor = 0;
    if (!version.starts_with("1.")) return false;
    std::from_chars(version.data() + 2, version.data() + version.size(), minor);
    return minor < static_cast<int>(onnx::kVersion);
}

Result<const OnnxRuntime*> load(const std::string& library) {
    // dlopen() sets no errno, so access() is called first. A name without a slash is searched for in system folders.
    if (library.find('/') != std::string::npos && ::access(library.c_str(), R_OK) != 0) {
        const int error = errno;
        return Status{Code::io_error,
                      "cannot open ONNX Runtime '" + library + "': " + std::system_category().message(error), error};
    }
    void* handle = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (handle == nullptr) {
        const char* reason = ::dlerror();  // NOLINT(concurrency-mt-unsafe): of this thread
        return Status{Code::io_error, "cannot open ONNX Runtime: " + std::string(reason == nullptr ? library : reason)};
    }
    using GetBase = const onnx::Base* (*)();
    const auto get_base = reinterpret_cast<GetBase>(::dlsym(handle, "OrtGetApiBase"));
    if (get_base == nullptr) return Status::bad_format(library + " is not ONNX Runtime: it has no OrtGetApiBase");
    const onnx::Base* base = get_base();
    const char* version = base == nullptr ? nullptr : base->version();
    if (version == nullptr) return Status::bad_format(library + " is not ONNX Runtime: its OrtGetApiBase() gives NULL");
    const void* table = is_older(version) ? nullptr : base->table(onnx::kVersion);
    if (table == nullptr) {
        return Status{Code::unavailable, library + " is ONNX Runtime " + version + ", expected 1." +
                                             std::to_string(onnx::kVersion) + " or newer"};
    }
    auto runtime = std::make_unique<OnnxRuntime>(OnnxRuntime{onnx::Api(table)});
    onnx::Status* status = runtime->api.call<onnx::CreateEnvWithLogger>(&ignore_log, static_cast<void*>(nullptr),
                                                                        onnx::kLogFatal, "karec", &runtime->env);
    if (status != nullptr) return runtime->status_of(status, Code::unavailable, library);
    return static_cast<const OnnxRuntime*>(runtime.release());
}

}  // namespace

struct OnnxRuntime::Libraries {
    std::mutex loading;
    std::map<std::string, const OnnxRuntime*> opened;  // by path
    AtFork<Libraries> at_fork{*this};

    void lock_for_fork() noexcept { loading.lock(); }
    void unlock_after_fork(bool) noexcept { loading.unlock(); }

    // Never destroyed: sessions may outlive the static objects of this library.
    static Libraries& get() {
        static auto* const libraries = new Libraries;
        return *libraries;
    }
};

OnnxRuntime::Loading::Loading() : lock_(Libraries::get().loading) {}

Result<const OnnxRuntime*> OnnxRuntime::Loading::open(const std::string& library) {
    auto& opened = Libraries::get().opened;
    if (const auto found = opened.find(library); found != opened.end()) return found->second;
    auto runtime = load(library);
    if (runtime.ok()) opened.emplace(library, runtime.value());
    return runtime;
}

Status OnnxRuntime::status_of(onnx::Status* status, Code code, const std::string& name) const {
    if (status == nullptr) return {};
    std::string message = name + ": " + api.call<onnx::GetErrorMessage>(status);
    api.call<onnx::ReleaseStatus>(status);
    return {code, std::move(message)};
}

}  // namespace karec
