// What libkarec.so shows: everything else is hidden.
#pragma once

#if defined(__GNUC__)
#define KAREC_API __attribute__((visibility("default")))
#else
#define KAREC_API
#endif
