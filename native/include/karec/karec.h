/* clang-format off */
/* karec for C, and through it for Rust, Go and any language with a C foreign-function interface.
 *
 * Status    Every function that can fail returns a karec_status; KAREC_OK is 0. karec_last_error() then says why, in
 *           the calling thread. A function that fails leaves handles and output as they were, but for output of a
 *           batch, which may be written in part.
 * Handles   karec_index and karec_preranker are opaque. Close each once, when no call uses it any more. Every other
 *           function may be called in any number of threads at once, on one handle: see item_index.hpp and
 *           prerank.hpp, whose documentation of each function of the same name holds here too.
 * Structs   Their first member is their size: write sizeof(struct). A library that knows more members takes those
 *           behind as 0; one that knows fewer refuses a struct whose further members are not 0.
 * Arrays    Owned by the caller, of the lengths beside them; NULL where the length is 0. Strides are in bytes.
 * Callbacks Should not throw (C++) or jump out (longjmp: undefined). What a karec_parallel throws fails its batch, as
 *           KAREC_UNAVAILABLE; what on_step throws is dropped, and the request goes on.
 * Units     Sizes are elements unless they say bytes. Ids are any int64. Times are Unix milliseconds. Scores are
 *           float32, larger is better.
 * Changes   KAREC_ABI_VERSION grows by one whenever anything in this file is added or changed. What was there keeps
 *           its meaning for as long as the library's file name (libkarec.so.MAJOR) is the same.
 *
 * Nothing throws, prints or aborts.
 */
/* clang-format on */
#ifndef KAREC_H
#define KAREC_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define KAREC_C_API __attribute__((visibility("default")))
#else
#define KAREC_C_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define KAREC_ABI_VERSION 2u

typedef int32_t karec_status;
#define KAREC_OK 0
#define KAREC_INVALID_ARGUMENT 1 /* a mistake of the caller */
#define KAREC_BAD_FORMAT 2       /* a file is truncated, altered, newer, or of another byte order */
#define KAREC_IO_ERROR 3         /* the operating system refused: karec_last_system_error() is its errno */
#define KAREC_OUT_OF_MEMORY 4
#define KAREC_UNAVAILABLE 5 /* what is needed is not there: a library, a user vector */

typedef int32_t karec_dtype;
#define KAREC_INT8 1
#define KAREC_INT16 2
#define KAREC_INT32 3
#define KAREC_INT64 4
#define KAREC_UINT8 5
#define KAREC_UINT16 6
#define KAREC_UINT32 7
#define KAREC_UINT64 8
#define KAREC_FLOAT16 9
#define KAREC_FLOAT32 10
#define KAREC_FLOAT64 11
#define KAREC_BOOL 12

/* The library's, which may be newer than the header's KAREC_ABI_VERSION. */
KAREC_C_API uint32_t karec_abi_version(void);
/* "0.1.0"; lives as long as the library. */
KAREC_C_API const char* karec_version(void);
/* "generic", "avx2" or "avx512": what runs. Results do not depend on it. */
KAREC_C_API const char* karec_isa(void);
/* Not 0: this library was built with ONNX Runtime's headers. */
KAREC_C_API int32_t karec_has_user_tower(void);
/* Why the last call of this thread that failed did; "" before the first. Valid until this thread's next failure. */
KAREC_C_API const char* karec_last_error(void);
KAREC_C_API int32_t karec_last_system_error(void);

/* ---- the item index ------------------------------------------------------------------------------------------- */

typedef struct karec_index karec_index;

/* (rows, cols) float16 or float32; row r starts at data + r·row_stride; row_stride 0 = rows lie side by side. Rows that
 * do not are copied together first. */
typedef struct karec_matrix {
    size_t struct_size;
    const void* data;
    size_t rows;
    size_t cols;
    size_t row_stride;
    karec_dtype dtype;
} karec_matrix;

/* n elements, one a row; name in UTF-8. */
typedef struct karec_column {
    size_t struct_size;
    const char* name;
    const void* data;
    size_t n;
    karec_dtype dtype;
} karec_column;

typedef struct karec_build_options {
    size_t struct_size;
    karec_dtype dtype; /* 0 = float16; float16, float32 or int8 */
    int32_t rescore;   /* not 0: int8 rows keep float32 ones beside them */
    int64_t model_version;
    const karec_column* columns; /* n_columns of them, side by side, all of one struct_size */
    size_t n_columns;
} karec_build_options;

typedef struct karec_index_info {
    size_t struct_size;
    size_t size; /* works */
    size_t n_rows;
    size_t dim;
    size_t bytes;
    karec_dtype dtype;
    int32_t rescores;
    int64_t model_version;
    uint64_t generation;
} karec_index_info;

/* One query of dim floats; or, during a refresh, n_versions of them side by side, each for the rows of its version. */
typedef struct karec_query {
    size_t struct_size;
    const float* values;
    size_t dim;
    const int64_t* model_versions; /* NULL, with n_versions 0: one query for all rows */
    size_t n_versions;
} karec_query;

/* n ids, or n rows: one of the two is NULL. */
typedef struct karec_candidates {
    size_t struct_size;
    const int64_t* ids;
    const int32_t* rows;
    size_t n;
} karec_candidates;

/* Four arrays of n entries. */
typedef struct karec_ranked {
    size_t struct_size;
    float* scores;
    int64_t* ids;
    int32_t* rows;
    int64_t* positions;
    size_t n;
} karec_ranked;

typedef struct karec_search_count {
    size_t struct_size;
    size_t found;
    size_t unknown;
    size_t blocked;
    uint64_t generation;
} karec_search_count;

KAREC_C_API karec_status karec_index_build(const int64_t* ids, size_t n, const karec_matrix* embeddings,
                                           const karec_build_options* options, karec_index** index);
/* verify 0 takes the contents on trust. */
KAREC_C_API karec_status karec_index_open(const char* path, int32_t verify, karec_index** index);
KAREC_C_API karec_status karec_index_save(const karec_index* index, const char* path);
/* *view: a handle that holds the generation which index has now. Every function that reads works on it and sees that
 * generation, so that rows which one call finds are good for the next, whatever is written meanwhile; every function
 * that writes refuses it. It keeps the index alive. Rows that are replaced meanwhile are not used again before it is
 * closed: hold one for a request. index must not be pinned itself. */
KAREC_C_API karec_status karec_index_pin(const karec_index* index, karec_index** view);
/* NULL is no index and is passed over. A pinned handle is closed like any other. */
KAREC_C_API void karec_index_close(karec_index* index);
KAREC_C_API karec_status karec_index_describe(const karec_index* index, karec_index_info* info);

/* Columns that are not given keep their values; a work that is new needs all. */
KAREC_C_API karec_status karec_index_upsert(karec_index* index, const int64_t* ids, size_t n,
                                            const karec_matrix* embeddings, const karec_column* columns,
                                            size_t n_columns, int64_t model_version);
/* *unknown, unless NULL: how many ids the index does not know. */
KAREC_C_API karec_status karec_index_remove(karec_index* index, const int64_t* ids, size_t n, size_t* unknown);
KAREC_C_API karec_status karec_index_block(karec_index* index, const int64_t* ids, size_t n, size_t* unknown);
KAREC_C_API karec_status karec_index_unblock(karec_index* index, const int64_t* ids, size_t n, size_t* unknown);
/* scales, offsets: n each, or NULL to leave that half as it is. */
KAREC_C_API karec_status karec_index_adjust(karec_index* index, const int64_t* ids, size_t n, const float* scales,
                                            const float* offsets, size_t* unknown);

/* rows: n; -1 = unknown. */
KAREC_C_API karec_status karec_index_lookup(const karec_index* index, const int64_t* ids, size_t n, int32_t* rows);
/* scores: candidates->n; count may be NULL. */
KAREC_C_API karec_status karec_index_scores(const karec_index* index, const karec_query* query,
                                            const karec_candidates* candidates, float* scores,
                                            karec_search_count* count);
/* The ranked->n best. count may be NULL, though only it says how many were found. */
KAREC_C_API karec_status karec_index_search(const karec_index* index, const karec_query* query,
                                            const karec_candidates* candidates, const karec_ranked* ranked,
                                            karec_search_count* count);
/* queries, counts: n_queries side by side, each of one struct_size. indptr: n_queries + 1. ranked: n_queries lists of
 * ranked->n / n_queries. */
KAREC_C_API karec_status karec_index_search_batch(const karec_index* index, const karec_query* queries,
                                                  size_t n_queries, const karec_candidates* candidates,
                                                  const int64_t* indptr, const karec_ranked* ranked,
                                                  karec_search_count* counts);
/* mask: NULL, or n_mask = n_rows bytes, 0 leaves a row out (make it on a pinned handle). queries, counts: n_queries
 * side by side. */
KAREC_C_API karec_status karec_index_search_all(const karec_index* index, const karec_query* queries, size_t n_queries,
                                                const uint8_t* mask, size_t n_mask, const karec_ranked* ranked,
                                                karec_search_count* counts);
/* vectors: (n, dim) float32, row i at vectors + i·row_stride bytes (0 = side by side). */
KAREC_C_API karec_status karec_index_gather(const karec_index* index, const int32_t* rows, size_t n, float* vectors,
                                            size_t dim, size_t row_stride);
/* values: n elements of dtype, which must be the column's. */
KAREC_C_API karec_status karec_index_gather_column(const karec_index* index, const char* name, const int32_t* rows,
                                                   size_t n, karec_dtype dtype, void* values);
KAREC_C_API karec_status karec_index_column_dtype(const karec_index* index, const char* name, karec_dtype* dtype);

/* ---- diversity and rules -------------------------------------------------------------------------------------- */

typedef struct karec_dpp_options {
    size_t struct_size;
    double alpha; /* karec_dpp_alpha(diversity) */
    double ridge; /* in [0, 10] */
    double type_weight;
    const float* weights;      /* NULL, or one an item */
    const int64_t* types;      /* NULL, or one an item */
    const karec_matrix* shown; /* NULL = nothing was shown */
    size_t window;             /* 0 = none */
    size_t max_per_type;       /* 0 = none */
    size_t min_per_type;
    int32_t fill; /* not 0: go on by relevance when no item adds anything */
} karec_dpp_options;

typedef struct karec_dpp_count {
    size_t struct_size;
    size_t selected;
    size_t n_dpp;
    double log_det;
} karec_dpp_count;

typedef struct karec_scatter_rule {
    size_t struct_size;
    const int64_t* values; /* n */
    const int64_t* shown;  /* n_shown, oldest first */
    size_t n_shown;
    size_t window;
    size_t max_count;
} karec_scatter_rule;

typedef struct karec_scatter_violation {
    size_t struct_size;
    size_t position;
    size_t rule;
    size_t count;
} karec_scatter_violation;

KAREC_C_API double karec_dpp_alpha(double diversity);
/* indices, gains: k >= 1. */
KAREC_C_API karec_status karec_dpp_select(const karec_matrix* embeddings, const float* relevance, size_t n,
                                          const karec_dpp_options* options, int64_t* indices, double* gains, size_t k,
                                          karec_dpp_count* count);
/* kernel: (n, n), row r at kernel + r·row_stride bytes (0 = side by side); window 0 = none. */
KAREC_C_API karec_status karec_dpp_select_kernel(const double* kernel, size_t n, size_t row_stride, size_t window,
                                                 int64_t* indices, double* gains, size_t k, karec_dpp_count* count);
/* diversity in [0, 1]; shown NULL = nothing; window 0 = none; *selected: how many entries were written. */
KAREC_C_API karec_status karec_mmr_select(const karec_matrix* embeddings, const float* relevance, size_t n,
                                          double diversity, const karec_matrix* shown, size_t window, int64_t* indices,
                                          double* scores, size_t k, size_t* selected);
KAREC_C_API karec_status karec_ssd_select(const karec_matrix* embeddings, const float* relevance, size_t n,
                                          double diversity, const karec_matrix* shown, size_t window, int64_t* indices,
                                          double* scores, size_t k, size_t* selected);
/* rules: n_rules side by side. violations: room for max_violations, side by side, of which the first so many are
 * written; *n_violations: how many there are. */
KAREC_C_API karec_status karec_scatter(size_t n, const karec_scatter_rule* rules, size_t n_rules, int64_t* indices,
                                       size_t k, karec_scatter_violation* violations, size_t max_violations,
                                       size_t* n_violations);

/* ---- prerank whole -------------------------------------------------------------------------------------------- */

typedef struct karec_preranker karec_preranker;

/* A C-contiguous array for the user tower, by the name of its input; int64 or float32. */
typedef struct karec_tensor {
    size_t struct_size;
    const char* name;
    const void* data;
    const int64_t* shape;
    size_t rank;
    karec_dtype dtype;
} karec_tensor;

/* An input that the user tower asks for. */
typedef struct karec_tensor_spec {
    size_t struct_size;
    size_t rank;
    int64_t shape[8]; /* rank of them; -1 = any size, as the first axis, rows */
    char name[128];   /* ends with 0 */
    karec_dtype dtype;
} karec_tensor_spec;

typedef struct karec_step_metrics {
    size_t struct_size;
    const char* step; /* valid while the callback runs */
    size_t n_in;
    size_t n_out;
    size_t n_unknown;
    uint64_t nanoseconds;
    int64_t model_version;
} karec_step_metrics;

typedef struct karec_preranker_options {
    size_t struct_size;
    int32_t trust;           /* not 0: contents of files are taken on trust */
    int32_t tower_threads;   /* 0 = 1 */
    const char* onnxruntime; /* path of ONNX Runtime's library; NULL: every request brings its user_vector */
    void (*on_step)(void* context, const karec_step_metrics* metrics); /* NULL, or called after each step */
    void* context;
} karec_preranker_options;

typedef struct karec_prerank_request {
    size_t struct_size;
    const int64_t* candidates;
    const float* recall_scores; /* NULL = 0 */
    size_t n_candidates;
    const float* user_vector; /* dim floats; NULL: the towers compute it from user_inputs */
    size_t dim;
    const karec_tensor* user_inputs; /* side by side, all of one struct_size */
    size_t n_user_inputs;
    int64_t time_ms;
    const int64_t* shown;
    size_t n_shown;
    size_t k; /* >= 1 */
    /* NULL, with n_versions 0: user_vector is for every row. Else user_vector is n_versions of them side by side, each
     * for the rows of its model version; rows of another version are left out and counted. */
    const int64_t* model_versions;
    size_t n_versions;
} karec_prerank_request;

/* Three arrays of n entries, n >= karec_preranker_most. */
typedef struct karec_preranked {
    size_t struct_size;
    float* scores;
    int64_t* ids;
    int32_t* rows;
    size_t n;
} karec_preranked;

typedef struct karec_prerank_count {
    size_t struct_size;
    size_t found;
    size_t unknown;
    size_t blocked;
    uint64_t generation;
    int64_t model_version;
} karec_prerank_count;

/* Calls task(data, i) once for each i < n, from any threads, and returns, or throws, when no task runs any more. */
typedef void (*karec_parallel)(void* context, size_t n, void (*task)(void* data, size_t i), void* data);

/* root: a folder that holds `current`, or a bundle's folder. settings: a file that `karec export` wrote. options: NULL
 * = all 0. */
KAREC_C_API karec_status karec_preranker_open(const char* root, const char* settings,
                                              const karec_preranker_options* options, karec_preranker** preranker);
KAREC_C_API void karec_preranker_close(karec_preranker* preranker);
KAREC_C_API karec_status karec_preranker_most(const karec_preranker* preranker, const karec_prerank_request* request,
                                              size_t* most);
KAREC_C_API karec_status karec_preranker_run(const karec_preranker* preranker, const karec_prerank_request* request,
                                             const karec_preranked* out, karec_prerank_count* count);
/* requests, outs, counts: n each, side by side; statuses: n. Each request has its own status: where that is KAREC_OK,
 * out and count are written, else both are left alone; KAREC_UNAVAILABLE too where a request did not run, as when
 * parallel leaves it out, or an argument is refused, which refuses the batch. Returned is the first failure. parallel
 * NULL: n_threads threads (0 = 1), the calling one among them. */
KAREC_C_API karec_status karec_preranker_run_batch(const karec_preranker* preranker,
                                                   const karec_prerank_request* requests, const karec_preranked* outs,
                                                   karec_prerank_count* counts, karec_status* statuses, size_t n,
                                                   size_t n_threads, karec_parallel parallel, void* context);
/* *reloaded, unless NULL: 1 where `current` named another bundle, which serves from now on. */
KAREC_C_API karec_status karec_preranker_reload(karec_preranker* preranker, int32_t* reloaded);
KAREC_C_API karec_status karec_preranker_model_version(const karec_preranker* preranker, int64_t* model_version);
/* What the tower of the bundle that serves now asks for. specs: room for max_specs, side by side, of which the first so
 * many are written; *n_specs: how many there are. KAREC_UNAVAILABLE: there is no tower, or a name or a rank that no
 * spec holds. */
KAREC_C_API karec_status karec_preranker_tower_inputs(const karec_preranker* preranker, karec_tensor_spec* specs,
                                                      size_t max_specs, size_t* n_specs);
/* A handle of the bundle's index, to be closed like any other; it may outlive the preranker. */
KAREC_C_API karec_status karec_preranker_index(const karec_preranker* preranker, karec_index** index);

#ifdef __cplusplus
}
#endif

#endif
