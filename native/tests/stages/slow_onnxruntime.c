/* An ONNX Runtime whose entry point waits 0.3 s and returns no interface. is_asked is 1 after the first call. */
#define _POSIX_C_SOURCE 199309L
#include <time.h>

__attribute__((visibility("default"))) const void* OrtGetApiBase(void);

__attribute__((visibility("default"))) volatile int is_asked = 0;

const void* OrtGetApiBase(void) {
    const struct timespec delay = {0, 300000000};
    is_asked = 1;
    nanosleep(&delay, NULL);
    return 0;
}
