/* What the user tower must refuse: an ONNX Runtime without an interface. */
__attribute__((visibility("default"))) const void* OrtGetApiBase(void);

const void* OrtGetApiBase(void) {
    return 0;
}
