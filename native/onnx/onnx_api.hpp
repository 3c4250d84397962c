// The part of ONNX Runtime's C interface that karec calls. karec needs no header of ONNX Runtime.
//
// The table of functions only grows: a function has the same place and signature in every later version
// (onnxruntime.ai, C API; docs "ABI compatibility"). The places are those of interface version 18.
// native/tests/stages/test_onnx_api.cpp compares places and enumerations with ONNX Runtime's header if it is installed.
#pragma once

#include <cstddef>
#include <cstdint>

namespace karec::onnx {

// Objects of ONNX Runtime. The function Release… of the name releases each.
struct Status;
struct Env;
struct SessionOptions;
struct Session;
struct MemoryInfo;
struct Allocator;
struct Value;
struct TypeInfo;
struct TensorInfo;
struct Metadata;

// Enumerations, int in C.
inline constexpr int kLogFatal = 4;        // the level with the fewest messages
inline constexpr int kArenaAllocator = 1;  // of a MemoryInfo
inline constexpr int kDefaultMemory = 0;
inline constexpr int kFloat32 = 1;  // types of elements
inline constexpr int kInt64 = 7;

using Log = void (*)(void* context, int level, const char* category, const char* id, const char* place,
                     const char* message);

// A function of the table: its place and its signature.
template <std::size_t Place, class Signature>
struct Entry;
template <std::size_t Place, class Answer, class... Arguments>
struct Entry<Place, Answer(Arguments...)> {
    static constexpr std::size_t kPlace = Place;
    using Function = Answer (*)(Arguments...);
};

// A status is nullptr if the call succeeded.
using GetErrorMessage = Entry<2, const char*(const Status*)>;
using ReleaseStatus = Entry<93, void(Status*)>;

using CreateEnvWithLogger = Entry<4, Status*(Log, void* context, int level, const char* id, Env** out)>;

using CreateSessionOptions = Entry<10, Status*(SessionOptions** out)>;
using SetLogSeverity = Entry<22, Status*(SessionOptions*, int level)>;
using SetIntraOpThreads = Entry<24, Status*(SessionOptions*, int n)>;
using SetInterOpThreads = Entry<25, Status*(SessionOptions*, int n)>;
using ReleaseSessionOptions = Entry<100, void(SessionOptions*)>;

using CreateSessionFromArray =
    Entry<8, Status*(const Env*, const void* model, std::size_t bytes, const SessionOptions*, Session** out)>;
using Run =
    Entry<9, Status*(Session*, const void* run_options, const char* const* input_names, const Value* const* inputs,
                     std::size_t n_inputs, const char* const* output_names, std::size_t n_outputs, Value** outputs)>;
using ReleaseSession = Entry<95, void(Session*)>;

using InputCount = Entry<30, Status*(const Session*, std::size_t* out)>;
using OutputCount = Entry<31, Status*(const Session*, std::size_t* out)>;
using InputType = Entry<33, Status*(const Session*, std::size_t i, TypeInfo** out)>;
using OutputType = Entry<34, Status*(const Session*, std::size_t i, TypeInfo** out)>;
using InputName = Entry<36, Status*(const Session*, std::size_t i, Allocator*, char** out)>;
using OutputName = Entry<37, Status*(const Session*, std::size_t i, Allocator*, char** out)>;

using GetMetadata = Entry<111, Status*(const Session*, Metadata** out)>;
using LookUpMetadata = Entry<116, Status*(const Metadata*, Allocator*, const char* key, char** out)>;
using ReleaseMetadata = Entry<118, void(Metadata*)>;

using GetDefaultAllocator = Entry<78, Status*(Allocator** out)>;
using AllocatorFree = Entry<76, Status*(Allocator*, void*)>;
using CreateCpuMemoryInfo = Entry<69, Status*(int allocator, int memory, MemoryInfo** out)>;
using ReleaseMemoryInfo = Entry<94, void(MemoryInfo*)>;

// The type owns the tensor info, which is not released.
using TensorInfoOf = Entry<55, Status*(const TypeInfo*, const TensorInfo** out)>;
using ElementType = Entry<60, Status*(const TensorInfo*, int* out)>;
using DimensionsCount = Entry<61, Status*(const TensorInfo*, std::size_t* out)>;
using Dimensions = Entry<62, Status*(const TensorInfo*, std::int64_t* out, std::size_t n)>;
using ElementCount = Entry<64, Status*(const TensorInfo*, std::size_t* out)>;
using ReleaseTypeInfo = Entry<98, void(TypeInfo*)>;

using CreateTensor = Entry<49, Status*(const MemoryInfo*, void* data, std::size_t bytes, const std::int64_t* shape,
                                       std::size_t rank, int element, Value** out)>;
using TensorData = Entry<51, Status*(Value*, void** out)>;
using GetTensorInfo = Entry<65, Status*(const Value*, TensorInfo** out)>;
using ReleaseTensorInfo = Entry<99, void(TensorInfo*)>;
using ReleaseValue = Entry<96, void(Value*)>;

inline constexpr std::uint32_t kVersion = 18;  // of the interface: ONNX Runtime 1.18 and newer

// The result of OrtGetApiBase() of the library.
struct Base {
    const void* (*table)(std::uint32_t version);  // nullptr: the library is older
    const char* (*version)();                     // "1.21.0"
};

// The table: call<Run>(session, …) calls the function Run.
class Api {
  public:
    explicit Api(const void* table) noexcept : functions_(static_cast<const Function*>(table)) {}

    template <class Entry, class... Arguments>
    auto call(Arguments... arguments) const {
        return reinterpret_cast<Entry::Function>(functions_[Entry::kPlace])(arguments...);
    }

  private:
    using Function = void (*)();
    const Function* functions_;
};

}  // namespace karec::onnx
