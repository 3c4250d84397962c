#include "onnx_model.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

#include "onnx_runtime.hpp"

namespace karec {
namespace {

// The data of an input without elements. Not a static in a function of Session: its symbol would be unique in the
// process (STB_GNU_UNIQUE), and the library could not be unloaded.
constexpr float kNoData = 0.0f;

// Calls of ONNX Runtime for one purpose. After the first failure the others are skipped.
struct Calls {
    const OnnxRuntime& runtime;
    Code code;  // of a failure
    const std::string& name;
    Status status{};

    template <class Entry, class... Arguments>
    void call(Arguments... arguments) {
        if (status.ok()) status = runtime.status_of(runtime.api.call<Entry>(arguments...), code, name);
    }
};

// Releases an object that a call created.
template <class Release, class T>
struct Owned {
    const OnnxRuntime* runtime;
    T* object = nullptr;

    explicit Owned(const OnnxRuntime& of) noexcept : runtime(&of) {}
    Owned(const Owned&) = delete;
    Owned& operator=(const Owned&) = delete;
    ~Owned() {
        if (object != nullptr) runtime->api.call<Release>(object);
    }
};

std::string to_text(std::span<const std::int64_t> shape) {
    std::string text = "(";
    for (const std::int64_t size : shape)
        text += (text.size() > 1 ? ", " : "") + (size < 0 ? "N" : std::to_string(size));
    return text + ")";
}

std::string to_text(const TensorSpec& spec) {
    return std::string(name_of(spec.dtype)) + " " + to_text(spec.shape);
}

// True if the model takes a tensor of `given`. −1 in a model's shape: any size.
bool fits(const TensorSpec& given, const TensorSpec& expected) noexcept {
    if (given.dtype != expected.dtype || given.shape.size() != expected.shape.size()) return false;
    for (std::size_t axis = 0; axis < given.shape.size(); ++axis) {
        if (expected.shape[axis] >= 0 && given.shape[axis] != expected.shape[axis]) return false;
    }
    return true;
}

}  // namespace

struct OnnxModel::Session {
    const OnnxRuntime& runtime;
    std::string name;
    Owned<onnx::ReleaseSession, onnx::Session> session{runtime};
    Owned<onnx::ReleaseMemoryInfo, onnx::MemoryInfo> memory{runtime};
    onnx::Allocator* allocator = nullptr;  // of ONNX Runtime
    std::vector<TensorSpec> inputs;
    std::int64_t model_version = 0;

    Session(const OnnxRuntime& of_runtime, std::string of_name) : runtime(of_runtime), name(std::move(of_name)) {}

    Calls calls(Code code) const { return {runtime, code, name}; }

    Status load(std::span<const std::byte> model) {
        Owned<onnx::ReleaseSessionOptions, onnx::SessionOptions> options(runtime);
        Calls loading = calls(Code::bad_format);
        loading.call<onnx::CreateSessionOptions>(&options.object);
        loading.call<onnx::SetIntraOpThreads>(options.object, 1);  // as in Python: other sums have other bits
        loading.call<onnx::SetInterOpThreads>(options.object, 1);
        loading.call<onnx::SetLogSeverity>(options.object, onnx::kLogFatal);
        loading.call<onnx::CreateSessionFromArray>(runtime.env, static_cast<const void*>(model.data()), model.size(),
                                                   options.object, &session.object);
        loading.call<onnx::CreateCpuMemoryInfo>(onnx::kArenaAllocator, onnx::kDefaultMemory, &memory.object);
        loading.call<onnx::GetDefaultAllocator>(&allocator);
        if (loading.status.ok()) loading.status = read_inputs();
        return loading.status.ok() ? read_version() : loading.status;
    }

    Status read_inputs() {
        std::size_t n = 0;
        Calls reading = calls(Code::bad_format);
        reading.call<onnx::InputCount>(session.object, &n);
        for (std::size_t i = 0; i < n && reading.status.ok(); ++i) {
            char* text = nullptr;
            Owned<onnx::ReleaseTypeInfo, onnx::TypeInfo> type(runtime);
            reading.call<onnx::InputName>(session.object, i, allocator, &text);
            reading.call<onnx::InputType>(session.object, i, &type.object);
            std::string input = take_text(text);
            if (!reading.status.ok()) break;
            auto spec = read_type(type.object, std::move(input));
            if (!spec.ok()) return spec.status();
            inputs.push_back(std::move(spec.value()));
        }
        return reading.status;
    }

    // The text, which ONNX Runtime allocated and this frees; "" for nullptr.
    std::string take_text(char* text) const {
        if (text == nullptr) return "";
        std::string copy = text;
        (void)runtime.status_of(runtime.api.call<onnx::AllocatorFree>(allocator, text), Code::ok, name);
        return copy;
    }

    Result<TensorSpec> read_type(const onnx::TypeInfo* type, std::string port) const {
        const onnx::TensorInfo* tensor = nullptr;
        int element = 0;
        std::size_t rank = 0;
        TensorSpec spec{std::move(port), DType::float32, {}};
        Calls reading = calls(Code::bad_format);
        reading.call<onnx::TensorInfoOf>(type, &tensor);
        if (tensor != nullptr) {
            reading.call<onnx::ElementType>(tensor, &element);
            reading.call<onnx::DimensionsCount>(tensor, &rank);
            spec.shape.resize(rank);
            reading.call<onnx::Dimensions>(tensor, spec.shape.data(), rank);
        }
        if (!reading.status.ok()) return reading.status;
        if (element == onnx::kInt64) spec.dtype = DType::int64;
        if ((element == onnx::kInt64 || element == onnx::kFloat32) && rank > 0) return spec;
        return Status::bad_format(name + ": '" + spec.name + "' is not a tensor of int64 or float32 with a row axis");
    }

    Status read_version() {
        const auto text = metadata("model_version");
        if (!text.ok()) return text.status();
        const char* const end = text->data() + text->size();
        const auto [rest, error] = std::from_chars(text->data(), end, model_version);
        if (error == std::errc() && rest == end) return {};
        return Status::bad_format(name + ": metadata model_version is '" + text.value() + "', expected a whole number");
    }

    Result<std::string> metadata(const char* key) const {
        Owned<onnx::ReleaseMetadata, onnx::Metadata> all(runtime);
        char* text = nullptr;
        Calls reading = calls(Code::bad_format);
        reading.call<onnx::GetMetadata>(session.object, &all.object);
        reading.call<onnx::LookUpMetadata>(all.object, allocator, key, &text);
        if (!reading.status.ok()) return reading.status;
        if (text == nullptr) return Status::bad_format(name + ": its metadata lacks " + key);
        return take_text(text);
    }

    Result<std::size_t> output_width(std::string_view output) const {
        std::size_t n = 0;
        Calls reading = calls(Code::bad_format);
        reading.call<onnx::OutputCount>(session.object, &n);
        for (std::size_t i = 0; i < n && reading.status.ok(); ++i) {
            char* text = nullptr;
            reading.call<onnx::OutputName>(session.object, i, allocator, &text);
            if (take_text(text) != output) continue;
            Owned<onnx::ReleaseTypeInfo, onnx::TypeInfo> type(runtime);
            reading.call<onnx::OutputType>(session.object, i, &type.object);
            if (!reading.status.ok()) break;
            const auto spec = read_type(type.object, std::string(output));
            if (!spec.ok()) return spec.status();
            if (spec->dtype == DType::float32 && spec->shape.size() == 2) {
                return static_cast<std::size_t>(std::max<std::int64_t>(spec->shape[1], 0));
            }
            return Status::bad_format(name + ": '" + std::string(output) + "' is " + to_text(spec.value()) +
                                      ", expected float32 (N, D)");
        }
        if (!reading.status.ok()) return reading.status;
        return Status::bad_format(name + " has no output '" + std::string(output) + "'");
    }

    Status run(std::span<const Tensor> given, const char* output, std::span<float> out) const {
        struct Values : ScratchVector<onnx::Value*> {
            const OnnxRuntime& runtime;
            Values(std::size_t n, const OnnxRuntime& of) : ScratchVector<onnx::Value*>(n, nullptr), runtime(of) {}
            ~Values() {
                for (onnx::Value* value : *this) {
                    if (value != nullptr) runtime.api.call<onnx::ReleaseValue>(value);
                }
            }
        } values(inputs.size(), runtime);
        ScratchVector<const char*> names;
        Calls running = calls(Code::unavailable);
        for (std::size_t i = 0; i < inputs.size(); ++i) {
            const auto tensor = std::ranges::find(given, std::string_view(inputs[i].name), &Tensor::name);
            if (tensor == given.end()) return Status::invalid(name + " needs the input '" + inputs[i].name + "'");
            names.push_back(inputs[i].name.c_str());
            std::size_t bytes = size_of(tensor->dtype);
            for (const std::int64_t size : tensor->shape) bytes *= static_cast<std::size_t>(size);
            void* const data = const_cast<void*>(bytes > 0 ? tensor->data : &kNoData);
            running.call<onnx::CreateTensor>(memory.object, data, bytes, tensor->shape.data(), tensor->shape.size(),
                                             tensor->dtype == DType::int64 ? onnx::kInt64 : onnx::kFloat32, &values[i]);
        }
        Owned<onnx::ReleaseValue, onnx::Value> result(runtime);
        running.call<onnx::Run>(session.object, static_cast<const void*>(nullptr), names.data(), values.data(),
                                values.size(), &output, std::size_t{1}, &result.object);
        return running.status.ok() ? copy(result.object, output, out) : running.status;
    }

    Status copy(onnx::Value* value, const char* output, std::span<float> out) const {
        Owned<onnx::ReleaseTensorInfo, onnx::TensorInfo> info(runtime);
        std::size_t n = 0;
        void* data = nullptr;
        Calls reading = calls(Code::unavailable);
        reading.call<onnx::GetTensorInfo>(value, &info.object);
        reading.call<onnx::ElementCount>(info.object, &n);
        reading.call<onnx::TensorData>(value, &data);
        if (reading.status.ok() && n != out.size()) {
            return {Code::unavailable, name + ": '" + output + "' has " + std::to_string(n) + " values, expected " +
                                           std::to_string(out.size())};
        }
        if (reading.status.ok()) std::copy_n(static_cast<const float*>(data), n, out.begin());
        return reading.status;
    }
};

Result<OnnxModel> OnnxModel::open(std::span<const std::byte> model, const std::string& name,
                                  const std::string& onnxruntime) {
    OnnxRuntime::Loading loading;
    const auto runtime = loading.open(onnxruntime);
    if (!runtime.ok()) return runtime.status();
    auto session = std::make_shared<Session>(*runtime.value(), name);
    if (Status status = session->load(model); !status.ok()) return status;
    return OnnxModel(std::move(session));
}

std::span<const TensorSpec> OnnxModel::inputs() const noexcept {
    return session_->inputs;
}
std::int64_t OnnxModel::model_version() const noexcept {
    return session_->model_version;
}
Result<std::string> OnnxModel::metadata(const char* key) const {
    return session_->metadata(key);
}
Result<std::size_t> OnnxModel::output_width(std::string_view name) const {
    return session_->output_width(name);
}

Status OnnxModel::check_inputs(std::span<const TensorSpec> available) const {
    for (const TensorSpec& input : session_->inputs) {
        const auto found = std::ranges::find(available, input.name, &TensorSpec::name);
        const std::string message = session_->name + " reads the input '" + input.name + "' " + to_text(input);
        if (found == available.end()) return Status::bad_format(message + ", which this library does not compute");
        if (!fits(*found, input)) return Status::bad_format(message + ", the encoder gives " + to_text(*found));
    }
    return {};
}

Status OnnxModel::run(std::span<const Tensor> inputs, const char* output, std::span<float> out) const {
    return session_->run(inputs, output, out);
}

}  // namespace karec
