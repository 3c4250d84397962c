// The user tower, run by ONNX Runtime: it reads the caller's inputs in place; the vector is copied to the caller.
#include "karec/user_tower.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <system_error>

#include "base/boundary.hpp"
#include "base/scratch.hpp"
#include "onnx_runtime.hpp"

namespace karec {
namespace {

constexpr const char* kOutput = "user_vector";
// The data of an input without elements. Not a static in a function of Session: its symbol would be unique in the
// process (STB_GNU_UNIQUE) and keep the library from being unloaded.
constexpr float kNothing = 0.0f;

std::string shape_of(std::span<const std::int64_t> shape) {
    std::string text = "(";
    for (const std::int64_t size : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
    return text + ")";
}

// One row, and the model's size on every other axis that it fixes.
bool fits(std::span<const std::int64_t> shape, std::span<const std::int64_t> wanted) {
    if (shape.size() != wanted.size() || shape.empty() || shape[0] != 1) return false;
    std::int64_t elements = 1;
    for (std::size_t axis = 1; axis < shape.size(); ++axis) {
        if (shape[axis] < 0 || (wanted[axis] >= 0 && shape[axis] != wanted[axis])) return false;
        if (__builtin_mul_overflow(elements, shape[axis], &elements)) return false;
    }
    return elements <= (std::int64_t{1} << 40);
}

}  // namespace

struct UserTower::Session {
    const OnnxRuntime* runtime = nullptr;
    onnx::Session* session = nullptr;
    onnx::MemoryInfo* memory = nullptr;
    std::vector<TensorSpec> inputs;
    std::size_t dim = 0;
    std::int64_t model_version = 0;

    Session() = default;
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;
    ~Session() {
        if (session != nullptr) api().call<onnx::ReleaseSession>(session);
        if (memory != nullptr) api().call<onnx::ReleaseMemoryInfo>(memory);
    }

    const onnx::Api& api() const noexcept { return runtime->api; }
    Status say(onnx::Status* status, Code code, const std::string& what) const {
        return runtime->status_of(status, code, what);
    }

    Status load(const std::string& model, int threads) {
        onnx::SessionOptions* options = nullptr;
        Status status = say(api().call<onnx::CreateSessionOptions>(&options), Code::unavailable, model);
        if (!status.ok()) return status;
        const auto set = [&](onnx::Status* each) {
            if (status.ok())
                status = say(each, Code::bad_format, model);
            else if (each != nullptr)
                api().call<onnx::ReleaseStatus>(each);
        };
        set(api().call<onnx::SetIntraOpThreads>(options, threads));
        set(api().call<onnx::SetInterOpThreads>(options, 1));
        set(api().call<onnx::SetLogSeverity>(options, onnx::kLogFatal));
        if (status.ok()) set(api().call<onnx::CreateSession>(runtime->env, model.c_str(), options, &session));
        if (status.ok())
            set(api().call<onnx::CreateCpuMemoryInfo>(onnx::kArenaAllocator, onnx::kDefaultMemory, &memory));
        api().call<onnx::ReleaseSessionOptions>(options);
        if (status.ok()) status = describe(model);
        return status;
    }

    Status describe(const std::string& model) {
        onnx::Allocator* allocator = nullptr;
        std::size_t n = 0;
        Status status = say(api().call<onnx::GetDefaultAllocator>(&allocator), Code::unavailable, model);
        if (status.ok()) status = say(api().call<onnx::InputCount>(session, &n), Code::bad_format, model);
        for (std::size_t i = 0; i < n && status.ok(); ++i) {
            char* name = nullptr;
            status = say(api().call<onnx::InputName>(session, i, allocator, &name), Code::bad_format, model);
            if (!status.ok()) return status;
            TensorSpec spec;
            spec.name = name;
            (void)say(api().call<onnx::AllocatorFree>(allocator, name), Code::ok, "");
            onnx::TypeInfo* type = nullptr;
            status = say(api().call<onnx::InputType>(session, i, &type), Code::bad_format, model);
            if (status.ok()) status = describe_type(type, model, spec.name, spec.dtype, spec.shape);
            inputs.push_back(std::move(spec));
        }
        if (status.ok()) status = describe_output(allocator, model);
        if (status.ok()) status = read_version(allocator, model);
        return status;
    }

    // Releases `type`.
    Status describe_type(onnx::TypeInfo* type, const std::string& model, const std::string& name, DType& dtype,
                         std::vector<std::int64_t>& shape) const {
        const onnx::TensorInfo* tensor = nullptr;
        Status status = say(api().call<onnx::TensorInfoOf>(type, &tensor), Code::bad_format, model);
        int element = 0;
        std::size_t rank = 0;
        if (status.ok() && tensor != nullptr) {
            status = say(api().call<onnx::ElementType>(tensor, &element), Code::bad_format, model);
            if (status.ok()) status = say(api().call<onnx::DimensionsCount>(tensor, &rank), Code::bad_format, model);
            shape.resize(rank);
            if (status.ok())
                status = say(api().call<onnx::Dimensions>(tensor, shape.data(), rank), Code::bad_format, model);
        }
        api().call<onnx::ReleaseTypeInfo>(type);
        if (!status.ok()) return status;
        dtype = element == onnx::kInt64 ? DType::int64 : DType::float32;
        const bool known = dtype == DType::int64 || element == onnx::kFloat32;
        if (known && rank > 0) return {};
        return Status::bad_format(model + ": '" + name + "' is no tensor of int64 or float32 with a row axis");
    }

    Status describe_output(onnx::Allocator* allocator, const std::string& model) {
        std::size_t n = 0;
        Status status = say(api().call<onnx::OutputCount>(session, &n), Code::bad_format, model);
        for (std::size_t i = 0; i < n && status.ok(); ++i) {
            char* name = nullptr;
            status = say(api().call<onnx::OutputName>(session, i, allocator, &name), Code::bad_format, model);
            if (!status.ok()) return status;
            const bool found = std::string_view(name) == kOutput;
            (void)say(api().call<onnx::AllocatorFree>(allocator, name), Code::ok, "");
            if (!found) continue;
            onnx::TypeInfo* type = nullptr;
            DType dtype = DType::float32;
            std::vector<std::int64_t> shape;
            status = say(api().call<onnx::OutputType>(session, i, &type), Code::bad_format, model);
            if (status.ok()) status = describe_type(type, model, kOutput, dtype, shape);
            if (status.ok() && (dtype != DType::float32 || shape.size() != 2)) {
                status = Status::bad_format(model + ": 'user_vector' is not (B, D) float32");
            }
            if (status.ok()) dim = shape[1] > 0 ? static_cast<std::size_t>(shape[1]) : 0;
            return status;
        }
        return status.ok() ? Status::bad_format(model + " has no output 'user_vector'") : status;
    }

    Status read_version(onnx::Allocator* allocator, const std::string& model) {
        onnx::Metadata* metadata = nullptr;
        Status status = say(api().call<onnx::GetMetadata>(session, &metadata), Code::bad_format, model);
        if (!status.ok()) return status;
        char* text = nullptr;
        status =
            say(api().call<onnx::LookUpMetadata>(metadata, allocator, "model_version", &text), Code::bad_format, model);
        api().call<onnx::ReleaseMetadata>(metadata);
        if (!status.ok()) return status;
        const std::string_view found = text == nullptr ? "" : text;
        const auto [end, error] = std::from_chars(found.data(), found.data() + found.size(), model_version);
        const bool whole = !found.empty() && error == std::errc() && end == found.data() + found.size();
        if (text != nullptr) (void)say(api().call<onnx::AllocatorFree>(allocator, text), Code::ok, "");
        return whole ? Status() : Status::bad_format(model + ": its metadata names no model_version");
    }

    Status check(const TensorSpec& spec, std::span<const Tensor> given, const Tensor** found) const {
        const auto at = std::ranges::find(given, std::string_view(spec.name), &Tensor::name);
        if (at == given.end()) return Status::invalid("the user tower asks for the input '" + spec.name + "'");
        if (at->dtype != spec.dtype) {
            return Status::invalid("input '" + spec.name + "' has another dtype, expected " +
                                   (spec.dtype == DType::int64 ? "int64" : "float32"));
        }
        if (!fits(at->shape, spec.shape)) {
            return Status::invalid("input '" + spec.name + "' has shape " + shape_of(at->shape) + ", expected " +
                                   shape_of(spec.shape) + " with one row");
        }
        *found = &*at;
        return {};
    }

    Status run(std::span<const Tensor> given, std::span<float> out) const {
        ScratchVector<onnx::Value*> values(inputs.size(), nullptr);
        ScratchVector<const char*> names(inputs.size());
        onnx::Value* result = nullptr;
        Status status;
        for (std::size_t i = 0; i < inputs.size() && status.ok(); ++i) {
            const Tensor* tensor = nullptr;
            if (status = check(inputs[i], given, &tensor); !status.ok() || tensor == nullptr) break;
            std::size_t bytes = size_of(tensor->dtype);
            for (const std::int64_t size : tensor->shape) bytes *= static_cast<std::size_t>(size);
            if (bytes > 0 && tensor->data == nullptr) {
                status = Status::invalid("input '" + inputs[i].name + "' has no data");
                break;
            }
            void* data = const_cast<void*>(bytes > 0 ? tensor->data : &kNothing);
            const auto element = tensor->dtype == DType::int64 ? onnx::kInt64 : onnx::kFloat32;
            names[i] = inputs[i].name.c_str();
            status = say(api().call<onnx::CreateTensor>(memory, data, bytes, tensor->shape.data(), tensor->shape.size(),
                                                        element, &values[i]),
                         Code::unavailable, "user tower");
        }
        if (status.ok()) {
            status = say(api().call<onnx::Run>(session, nullptr, names.data(), values.data(), values.size(), &kOutput,
                                               1, &result),
                         Code::unavailable, "user tower");
        }
        if (status.ok()) status = copy(result, out);
        if (result != nullptr) api().call<onnx::ReleaseValue>(result);
        for (onnx::Value* value : values) {
            if (value != nullptr) api().call<onnx::ReleaseValue>(value);
        }
        return status;
    }

    Status copy(onnx::Value* result, std::span<float> out) const {
        onnx::TensorInfo* info = nullptr;
        Status status = say(api().call<onnx::GetTensorInfo>(result, &info), Code::unavailable, "user tower");
        if (!status.ok()) return status;
        std::size_t n = 0;
        status = say(api().call<onnx::ElementCount>(info, &n), Code::unavailable, "user tower");
        api().call<onnx::ReleaseTensorInfo>(info);
        if (!status.ok()) return status;
        if (n != out.size()) {
            return Status::invalid("user_vector has " + std::to_string(n) + " values, expected " +
                                   std::to_string(out.size()));
        }
        void* values = nullptr;
        status = say(api().call<onnx::TensorData>(result, &values), Code::unavailable, "user tower");
        if (status.ok()) std::copy_n(static_cast<const float*>(values), n, out.begin());
        return status;
    }
};

UserTower::UserTower(std::shared_ptr<const Session> session) noexcept : session_(std::move(session)) {}

Result<UserTower> UserTower::open(const std::string& model, const std::string& onnxruntime, int threads) noexcept {
    return at_boundary([&]() -> Result<UserTower> {
        if (threads < 1) return Status::invalid("threads must be positive, got " + std::to_string(threads));
        if (::access(model.c_str(), R_OK) != 0) {
            const int error = errno;
            return Status{Code::io_error, "cannot read '" + model + "': " + std::system_category().message(error),
                          error};
        }
        OnnxRuntime::Loading loading;
        auto runtime = loading.open(onnxruntime);
        if (!runtime.ok()) return runtime.status();
        auto session = std::make_shared<Session>();
        session->runtime = runtime.value();
        if (Status status = session->load(model, threads); !status.ok()) return status;
        return UserTower(std::move(session));
    });
}

std::span<const TensorSpec> UserTower::inputs() const noexcept {
    return session_->inputs;
}
std::size_t UserTower::dim() const noexcept {
    return session_->dim;
}
std::int64_t UserTower::model_version() const noexcept {
    return session_->model_version;
}

Status UserTower::run(std::span<const Tensor> inputs, std::span<float> out) const noexcept {
    return at_boundary([&] { return session_->run(inputs, out); });
}

}  // namespace karec
