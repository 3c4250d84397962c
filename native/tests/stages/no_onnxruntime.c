/* An ONNX Runtime without an interface, which the user tower must refuse. */
__attribute__((visibility("default"))) const void* OrtGetApiBase(void);

const void* OrtGetApiBase(void) {
    return 0;
}
