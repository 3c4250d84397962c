// KAREC_API marks the symbols that libkarec.so exports. All others are hidden.
#pragma once

#if defined(__GNUC__)
#define KAREC_API __attribute__((visibility("default")))
#else
#define KAREC_API
#endif
