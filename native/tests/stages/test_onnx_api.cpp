// karec's declarations of ONNX Runtime's interface have the places, signatures and numbers of ONNX Runtime's header.
#include <cstdio>

#if __has_include(<onnxruntime_c_api.h>)
#include <onnxruntime_c_api.h>

#include <cstddef>
#include <type_traits>

#include "check.hpp"
#include "onnx/onnx_api.hpp"

namespace {

using namespace karec;

// A function's type with void* for each pointer and int for each enumeration.
template <class T>
struct Plain {
    using Type = std::conditional_t<std::is_pointer_v<T>, void*, std::conditional_t<std::is_enum_v<T>, int, T>>;
};
template <class Function>
struct Shape;
template <class Answer, class... Arguments>
struct Shape<Answer (*)(Arguments...)> {
    // GCC wants the words that clang-tidy would leave out.
    using Type =
        typename Plain<Answer>::Type (*)(typename Plain<Arguments>::Type...);  // NOLINT(readability-redundant-typename)
};
template <class Answer, class... Arguments>
struct Shape<Answer (*)(Arguments...) noexcept> : Shape<Answer (*)(Arguments...)> {};

// NOLINTBEGIN(readability-redundant-typename)
template <class Ours, class Theirs>
constexpr bool kSameShape = std::is_same_v<typename Shape<typename Ours::Function>::Type, typename Shape<Theirs>::Type>;
// NOLINTEND(readability-redundant-typename)

}  // namespace

#define CHECK_ENTRY(ours, theirs)                                               \
    CHECK(onnx::ours::kPlace == offsetof(OrtApi, theirs) / sizeof(void (*)())); \
    CHECK((kSameShape<onnx::ours, decltype(OrtApi::theirs)>))

TEST(onnx_functions_have_the_places_and_types_of_the_header) {
    CHECK_ENTRY(GetErrorMessage, GetErrorMessage);
    CHECK_ENTRY(ReleaseStatus, ReleaseStatus);
    CHECK_ENTRY(CreateEnvWithLogger, CreateEnvWithCustomLogger);
    CHECK_ENTRY(CreateSessionOptions, CreateSessionOptions);
    CHECK_ENTRY(SetLogSeverity, SetSessionLogSeverityLevel);
    CHECK_ENTRY(SetIntraOpThreads, SetIntraOpNumThreads);
    CHECK_ENTRY(SetInterOpThreads, SetInterOpNumThreads);
    CHECK_ENTRY(ReleaseSessionOptions, ReleaseSessionOptions);
    CHECK_ENTRY(CreateSessionFromArray, CreateSessionFromArray);
    CHECK_ENTRY(Run, Run);
    CHECK_ENTRY(ReleaseSession, ReleaseSession);
    CHECK_ENTRY(InputCount, SessionGetInputCount);
    CHECK_ENTRY(OutputCount, SessionGetOutputCount);
    CHECK_ENTRY(InputType, SessionGetInputTypeInfo);
    CHECK_ENTRY(OutputType, SessionGetOutputTypeInfo);
    CHECK_ENTRY(InputName, SessionGetInputName);
    CHECK_ENTRY(OutputName, SessionGetOutputName);
    CHECK_ENTRY(GetMetadata, SessionGetModelMetadata);
    CHECK_ENTRY(LookUpMetadata, ModelMetadataLookupCustomMetadataMap);
    CHECK_ENTRY(ReleaseMetadata, ReleaseModelMetadata);
    CHECK_ENTRY(GetDefaultAllocator, GetAllocatorWithDefaultOptions);
    CHECK_ENTRY(AllocatorFree, AllocatorFree);
    CHECK_ENTRY(CreateCpuMemoryInfo, CreateCpuMemoryInfo);
    CHECK_ENTRY(ReleaseMemoryInfo, ReleaseMemoryInfo);
    CHECK_ENTRY(TensorInfoOf, CastTypeInfoToTensorInfo);
    CHECK_ENTRY(ElementType, GetTensorElementType);
    CHECK_ENTRY(DimensionsCount, GetDimensionsCount);
    CHECK_ENTRY(Dimensions, GetDimensions);
    CHECK_ENTRY(ElementCount, GetTensorShapeElementCount);
    CHECK_ENTRY(ReleaseTypeInfo, ReleaseTypeInfo);
    CHECK_ENTRY(CreateTensor, CreateTensorWithDataAsOrtValue);
    CHECK_ENTRY(TensorData, GetTensorMutableData);
    CHECK_ENTRY(GetTensorInfo, GetTensorTypeAndShape);
    CHECK_ENTRY(ReleaseTensorInfo, ReleaseTensorTypeAndShapeInfo);
    CHECK_ENTRY(ReleaseValue, ReleaseValue);
}

TEST(onnx_numbers_and_base_equal_the_header) {
    CHECK(onnx::kLogFatal == ORT_LOGGING_LEVEL_FATAL);
    CHECK(onnx::kArenaAllocator == OrtArenaAllocator && onnx::kDefaultMemory == OrtMemTypeDefault);
    CHECK(onnx::kFloat32 == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT && onnx::kInt64 == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64);
    CHECK(sizeof(ONNXTensorElementDataType) == sizeof(int) && sizeof(OrtLoggingLevel) == sizeof(int));
    CHECK(sizeof(OrtErrorCode) == sizeof(int) && sizeof(OrtAllocatorType) == sizeof(int));
    CHECK(offsetof(onnx::Base, table) == offsetof(OrtApiBase, GetApi));
    CHECK(offsetof(onnx::Base, version) == offsetof(OrtApiBase, GetVersionString));
    CHECK(onnx::kVersion <= ORT_API_VERSION);
}
#else
int main() {
    std::printf("skipped: no onnxruntime_c_api.h here (Debian: libonnxruntime-dev)\n");
    return 77;
}
#endif
