/* clang-format off */
/* karec for C, and through it for Rust, Go and any language with a C foreign-function interface.
 *
 * Status    Every function that can fail returns a karec_status; KAREC_OK is 0. karec_last_error() then says why, in
 *           the calling thread. A function that fails leaves handles and output as they were, but for output of a
 *           batch, which may be written in part.
 * Handles   karec_index and karec_preranker are opaque. Close each once, when no call uses it any more. Every other
 *           function may be called in any number of threads at once, on one handle: see item_index.hpp, index_view.hpp
 *           and prerank.hpp, whose documentation of each function of the same name holds here too.
 * Structs   Their first member is their size. Start from the struct's KAREC_…_INIT, which sets it and gives every other
 *           member the C++ API's default; or write sizeof(struct) and 0. A library that knows more members takes those
 *           behind as 0; one that knows fewer refuses a struct whose further members are not 0.
 * Pointers  Not NULL, and aligned for what they point at, unless it is said that they may be NULL; else the call is
 *           refused. An array of length 0 may be NULL. Structs and arrays belong to the caller, are read or written
 *           during the call alone, and must not change meanwhile. Where several structs are asked for, they lie side by
 *           side and are of one struct_size. Strings end with 0 and are copied.
 * Output    What a call writes is named with *, as in *index, or as the array that it is.
 * Units     Lengths are elements, strides are bytes. Ids are any int64. Times are Unix milliseconds. Scores are
 *           float32, larger is better.
 * Callbacks Should not throw (C++) or jump out (longjmp: undefined). What a karec_parallel throws fails its batch, as
 *           KAREC_UNAVAILABLE; what on_step throws is dropped, and the request goes on.
 * Files     Never write into an index file or a bundle that is open somewhere: put a new one in its place by rename(),
 *           as karec does. A mapped file that is shortened ends the process (SIGBUS), one that is overwritten gives
 *           wrong results or wrong memory accesses. karec_index_open_with can read a file into memory of its own.
 * Fork      A fork() waits for writes that are under way. The child's handles are whole; pinned ones that another
 *           thread made are refused there, as KAREC_UNAVAILABLE. Where there is a user tower, the child opens its own
 *           preranker.
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

#define KAREC_ABI_VERSION 5u

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

/* The library's KAREC_ABI_VERSION, which may be newer than the header's. */
KAREC_C_API uint32_t karec_abi_version(void);
/* "0.1.0"; lives as long as the library. */
KAREC_C_API const char* karec_version(void);
/* "generic", "avx2", "avx512" or "amx": what runs. Results do not depend on it. */
KAREC_C_API const char* karec_isa(void);
/* 1 since version 5: every library has the user tower. */
KAREC_C_API int32_t karec_has_user_tower(void);
/* Why the last call of this thread that failed did; "" before the first. The library's, valid until this thread's next
 * failure. */
KAREC_C_API const char* karec_last_error(void);
/* The errno of that failure; 0 where it was not the operating system's. */
KAREC_C_API int32_t karec_last_system_error(void);

/* ---- the item index ------------------------------------------------------------------------------------------- */

typedef struct karec_index karec_index;

/* (rows, cols) numbers of float16 or float32. Rows that do not lie side by side are copied together first. */
typedef struct karec_matrix {
    size_t struct_size;
    const void* data; /* may be NULL where rows or cols is 0 */
    size_t rows;
    size_t cols;
    size_t row_stride; /* bytes from a row to the next; 0 = side by side */
    karec_dtype dtype; /* KAREC_FLOAT16 or KAREC_FLOAT32 */
} karec_matrix;
#define KAREC_MATRIX_INIT {sizeof(karec_matrix), NULL, 0, 0, 0, KAREC_FLOAT32}

/* One value for each work of a call. */
typedef struct karec_column {
    size_t struct_size;
    const char* name; /* UTF-8, 1 to 95 bytes */
    const void* data; /* n elements */
    size_t n;
    karec_dtype dtype; /* any of them */
} karec_column;
#define KAREC_COLUMN_INIT {sizeof(karec_column), NULL, NULL, 0, 0}

typedef struct karec_build_options {
    size_t struct_size;
    karec_dtype dtype;           /* how vectors are stored: KAREC_FLOAT16, _FLOAT32 or _INT8; 0 = KAREC_FLOAT16 */
    int32_t rescore;             /* not 0, for KAREC_INT8: float32 rows are kept beside, and searches rank by them */
    int64_t model_version;       /* of the tower that made the vectors */
    const karec_column* columns; /* n_columns of them; may be NULL where that is 0 */
    size_t n_columns;
} karec_build_options;
#define KAREC_BUILD_OPTIONS_INIT {sizeof(karec_build_options), KAREC_FLOAT16, 0, 0, NULL, 0}

typedef struct karec_open_options {
    size_t struct_size;
    int32_t trust; /* not 0: contents are not read and verified; header, table, sizes and bounds still are */
    int32_t copy;  /* not 0: the file is read into memory of the index's own, which later changes of it do not reach */
} karec_open_options;
#define KAREC_OPEN_OPTIONS_INIT {sizeof(karec_open_options), 0, 0}

typedef struct karec_index_info {
    size_t struct_size;
    size_t size;           /* works */
    size_t n_rows;         /* rows, with those of removed works: every row is below */
    size_t dim;            /* values of a vector */
    size_t bytes;          /* of memory, mapped or allocated, that grows with the works */
    karec_dtype dtype;     /* how vectors are stored */
    int32_t rescores;      /* not 0: searches rank their best by float32 rows */
    int64_t model_version; /* of the newest vectors */
    uint64_t generation;   /* names the contents: 1 after a build, one more with each write */
} karec_index_info;
#define KAREC_INDEX_INFO_INIT {sizeof(karec_index_info), 0, 0, 0, 0, 0, 0, 0, 0}

/* One query for all rows; or, during a refresh, one for the rows of each model version. */
typedef struct karec_query {
    size_t struct_size;
    const float* values;           /* dim floats, finite; of n_versions queries, one behind the other */
    size_t dim;                    /* the index's */
    const int64_t* model_versions; /* n_versions, whose queries these are; NULL where n_versions is 0 */
    size_t n_versions;             /* 0 = one query for all rows */
} karec_query;
#define KAREC_QUERY_INIT {sizeof(karec_query), NULL, 0, NULL, 0}

/* n works by id, or by row. */
typedef struct karec_candidates {
    size_t struct_size;
    const int64_t* ids;  /* n, or NULL: rows */
    const int32_t* rows; /* n, or NULL: ids; of the generation that the call reads, -1 = unknown */
    size_t n;
} karec_candidates;
#define KAREC_CANDIDATES_INIT {sizeof(karec_candidates), NULL, NULL, 0}

/* Output of a search: four arrays of n entries, best first. */
typedef struct karec_ranked {
    size_t struct_size;
    float* scores;
    int64_t* ids;
    int32_t* rows;      /* of the generation that the call read */
    int64_t* positions; /* places in the candidates; of karec_index_search_all, the row */
    size_t n;
} karec_ranked;
#define KAREC_RANKED_INIT {sizeof(karec_ranked), NULL, NULL, NULL, NULL, 0}

typedef struct karec_search_count {
    size_t struct_size;
    size_t found;        /* entries of karec_ranked that were written */
    size_t unknown;      /* candidates skipped: not in the index, or of a model version without a query */
    size_t blocked;      /* candidates skipped: blocked */
    uint64_t generation; /* that the search read */
} karec_search_count;
#define KAREC_SEARCH_COUNT_INIT {sizeof(karec_search_count), 0, 0, 0, 0}

/* An index in memory; everything is copied. O(n·dim).
 *   ids         n, each once
 *   n           works, below 2^31
 *   embeddings  n rows of 1 to 65536 dimensions, finite
 *   options     NULL = KAREC_BUILD_OPTIONS_INIT
 *   index       *index: a new handle, the caller's to close */
KAREC_C_API karec_status karec_index_build(const int64_t* ids, size_t n, const karec_matrix* embeddings,
                                           const karec_build_options* options, karec_index** index);
/* Maps a file that karec_index_save wrote: O(file) to verify it. Writes to the index stay in memory.
 *   path    of a regular file
 *   verify  0: its contents are taken on trust, as karec_open_options says
 *   index   *index: a new handle, the caller's to close */
KAREC_C_API karec_status karec_index_open(const char* path, int32_t verify, karec_index** index);
/* The same, with every option.
 *   path     of a regular file
 *   options  NULL = KAREC_OPEN_OPTIONS_INIT
 *   index    *index: a new handle, the caller's to close */
KAREC_C_API karec_status karec_index_open_with(const char* path, const karec_open_options* options,
                                               karec_index** index);
/* Writes beside path, syncs, renames over it: whoever opens path gets the old file or the whole new one.
 *   index  any handle
 *   path   where nothing or a regular file is; KAREC_IO_ERROR with EEXIST where anything else is, as a symbolic link */
KAREC_C_API karec_status karec_index_save(const karec_index* index, const char* path);
/* Holds the generation that index has now. Every function that reads works on the view and sees that generation, so
 * that rows which one call finds are good for the next, whatever is written meanwhile; every function that writes
 * refuses it. It keeps the index alive. Rows that are replaced meanwhile are not used again before it is closed: hold
 * one for a request.
 *   index  a handle that is not pinned itself
 *   view   *view: a new handle, the caller's to close */
KAREC_C_API karec_status karec_index_pin(const karec_index* index, karec_index** view);
/*   index  a handle, pinned or not, that no call uses any more; NULL is passed over */
KAREC_C_API void karec_index_close(karec_index* index);
/*   index  any handle
 *   info   *info: what the index is */
KAREC_C_API karec_status karec_index_describe(const karec_index* index, karec_index_info* info);

/* Puts works in, or replaces their vectors and columns; what is blocked or adjusted stays so. One new generation.
 *   index          a handle that is not pinned
 *   ids            n, each once
 *   n              works
 *   embeddings     n rows of the index's dimensions, finite
 *   columns        n_columns, of the index's names and dtypes, n elements each; may be NULL where n_columns is 0
 *   n_columns      columns that are not given keep their values; a work that is new needs all
 *   model_version  of these vectors */
KAREC_C_API karec_status karec_index_upsert(karec_index* index, const int64_t* ids, size_t n,
                                            const karec_matrix* embeddings, const karec_column* columns,
                                            size_t n_columns, int64_t model_version);
/* Takes works out.
 *   index    a handle that is not pinned
 *   ids      n
 *   n        ids
 *   unknown  NULL, or *unknown: how many of the ids the index does not know; those are passed over */
KAREC_C_API karec_status karec_index_remove(karec_index* index, const int64_t* ids, size_t n, size_t* unknown);
/* Searches skip these works until karec_index_unblock.
 *   index    a handle that is not pinned
 *   ids      n
 *   n        ids
 *   unknown  NULL, or *unknown: how many of the ids the index does not know; those are passed over */
KAREC_C_API karec_status karec_index_block(karec_index* index, const int64_t* ids, size_t n, size_t* unknown);
/* Takes karec_index_block back.
 *   index    a handle that is not pinned
 *   ids      n
 *   n        ids
 *   unknown  NULL, or *unknown: how many of the ids the index does not know; those are passed over */
KAREC_C_API karec_status karec_index_unblock(karec_index* index, const int64_t* ids, size_t n, size_t* unknown);
/* From now on a work's score is inner product · scale + offset; 1 and 0 at first.
 *   index    a handle that is not pinned
 *   ids      n
 *   n        ids
 *   scales   n, finite; NULL leaves the scales as they are
 *   offsets  n, finite; NULL leaves the offsets as they are
 *   unknown  NULL, or *unknown: how many of the ids the index does not know; those are passed over */
KAREC_C_API karec_status karec_index_adjust(karec_index* index, const int64_t* ids, size_t n, const float* scales,
                                            const float* offsets, size_t* unknown);

/* Rows are good for the generation that the call read: to use them in further calls, pin the index first.
 *   index  any handle
 *   ids    n
 *   n      ids
 *   rows   n: the row of each id, -1 = unknown */
KAREC_C_API karec_status karec_index_lookup(const karec_index* index, const int64_t* ids, size_t n, int32_t* rows);
/* The adjusted score of each candidate; -inf where a search would skip it. O(candidates·dim).
 *   index       any handle
 *   query       whom the works are scored for
 *   candidates  which works
 *   scores      candidates->n
 *   count       NULL, or *count: how many were scored and skipped */
KAREC_C_API karec_status karec_index_scores(const karec_index* index, const karec_query* query,
                                            const karec_candidates* candidates, float* scores,
                                            karec_search_count* count);
/* The best of the candidates. O(candidates·dim).
 *   index       any handle
 *   query       whom the works are scored for
 *   candidates  which works
 *   ranked      its arrays get the ranked->n best, fewer where not so many can be scored
 *   count       NULL, or *count; only count->found says how many were written */
KAREC_C_API karec_status karec_index_search(const karec_index* index, const karec_query* query,
                                            const karec_candidates* candidates, const karec_ranked* ranked,
                                            karec_search_count* count);
/* The same for several users, each among candidates of its own, in one generation.
 *   index       any handle
 *   queries     n_queries, one a user
 *   n_queries   users
 *   candidates  of all users, one user's behind the other's
 *   indptr      n_queries + 1: user u has the candidates indptr[u] … indptr[u + 1] - 1; positions count from indptr[u]
 *   ranked      its arrays hold n_queries lists of ranked->n / n_queries entries; a list with fewer results ends in
 *               score -inf and id, row, position -1
 *   counts      n_queries */
KAREC_C_API karec_status karec_index_search_batch(const karec_index* index, const karec_query* queries,
                                                  size_t n_queries, const karec_candidates* candidates,
                                                  const int64_t* indptr, const karec_ranked* ranked,
                                                  karec_search_count* counts);
/* The best of all works, exactly, for several queries in one pass. O(n_queries·n_rows·dim).
 *   index      any handle
 *   queries    n_queries
 *   n_queries  lists
 *   mask       n_mask bytes, one a row, 0 leaves the row out; NULL where n_mask is 0: every row. Make it on a pinned
 *              handle, and search on that
 *   n_mask     0, or n_rows; fewer, as n_rows was in an earlier generation, leave out the rows that came since
 *   ranked     lists as in karec_index_search_batch
 *   counts     n_queries */
KAREC_C_API karec_status karec_index_search_all(const karec_index* index, const karec_query* queries, size_t n_queries,
                                                const uint8_t* mask, size_t n_mask, const karec_ranked* ranked,
                                                karec_search_count* counts);
/* Vectors of rows; zeros for row -1 and for rows of removed works.
 *   index       any handle; pinned, where the rows come from an earlier call
 *   rows        n
 *   n           rows
 *   vectors     (n, dim) floats
 *   dim         the index's
 *   row_stride  bytes from one vector to the next; 0 = side by side */
KAREC_C_API karec_status karec_index_gather(const karec_index* index, const int32_t* rows, size_t n, float* vectors,
                                            size_t dim, size_t row_stride);
/* One column's values at rows; zeros for row -1 and for rows of removed works.
 *   index   any handle; pinned, where the rows come from an earlier call
 *   name    the column's
 *   rows    n
 *   n       rows
 *   dtype   must be the column's
 *   values  n elements of that dtype */
KAREC_C_API karec_status karec_index_gather_column(const karec_index* index, const char* name, const int32_t* rows,
                                                   size_t n, karec_dtype dtype, void* values);
/*   index  any handle
 *   name   the column's
 *   dtype  *dtype: the column's */
KAREC_C_API karec_status karec_index_column_dtype(const karec_index* index, const char* name, karec_dtype* dtype);

/* ---- diversity and rules -------------------------------------------------------------------------------------- */

/* What dpp.hpp says of each. */
typedef struct karec_dpp_options {
    size_t struct_size;
    double alpha;              /* >= 0, or inf: by relevance alone; karec_dpp_alpha(diversity) */
    double ridge;              /* in [0, 10] */
    double type_weight;        /* in [0, 1]; above 0 it needs types */
    const float* weights;      /* NULL = all 1; else one an item, >= 0, finite */
    const int64_t* types;      /* NULL = none; else one an item, any codes */
    const karec_matrix* shown; /* NULL = nothing was shown; else rows of the embeddings' cols, finite */
    size_t window;             /* 0 = none */
    size_t max_per_type;       /* 0 = none; needs types */
    size_t min_per_type;       /* at most max_per_type; needs types */
    int32_t fill;              /* not 0: go on by relevance when no item adds anything */
    /* Since version 4: items of one code in a facet are alike by its weight. */
    size_t n_facets;
    const int64_t* facets;       /* (n_facets, n) codes, any numbers; NULL where n_facets is 0 */
    const double* facet_weights; /* n_facets, >= 0; with type_weight at most 1 in sum */
    const int64_t* shown_facets; /* (n_facets, shown->rows); NULL = what was shown has no values */
} karec_dpp_options;
#define KAREC_DPP_OPTIONS_INIT \
    {sizeof(karec_dpp_options), 0.5, 1e-2, 0.0, NULL, NULL, NULL, 0, 0, 0, 1, 0, NULL, NULL, NULL}

/* What mmr_ssd.hpp says of each. */
typedef struct karec_mmr_ssd_options {
    size_t struct_size;
    double diversity;          /* in [0, 1]; 0 = by relevance alone */
    const karec_matrix* shown; /* NULL = nothing was shown; else rows of the embeddings' cols, finite */
    size_t window;             /* 0 = none */
    size_t n_facets;
    const int64_t* facets;       /* (n_facets, n) codes, any numbers; NULL where n_facets is 0 */
    const double* facet_weights; /* n_facets, >= 0; at most 1 in sum */
    const int64_t* shown_facets; /* (n_facets, shown->rows); NULL = what was shown has no values */
} karec_mmr_ssd_options;
#define KAREC_MMR_SSD_OPTIONS_INIT {sizeof(karec_mmr_ssd_options), 0.5, NULL, 0, 0, NULL, NULL, NULL}

typedef struct karec_dpp_count {
    size_t struct_size;
    size_t selected; /* entries of indices and gains that were written */
    size_t n_dpp;    /* how many of them the greedy chose; the rest is fill, with gain 0 */
    double log_det;  /* sum of log gain over those */
} karec_dpp_count;
#define KAREC_DPP_COUNT_INIT {sizeof(karec_dpp_count), 0, 0, 0.0}

/* Among any `window` neighbours of the list at most max_count have one value. */
typedef struct karec_scatter_rule {
    size_t struct_size;
    const int64_t* values; /* one an item of the list */
    const int64_t* shown;  /* n_shown, of what the session saw before, oldest first; may be NULL where n_shown is 0 */
    size_t n_shown;
    size_t window;    /* >= 2; SIZE_MAX = the whole session */
    size_t max_count; /* >= 1, < window */
} karec_scatter_rule;
#define KAREC_SCATTER_RULE_INIT {sizeof(karec_scatter_rule), NULL, NULL, 0, 2, 1}

/* The item at `position` of the result is number `count` of its value in the window that ends there: more than `rule`
 * allows. */
typedef struct karec_scatter_violation {
    size_t struct_size;
    size_t position;
    size_t rule;
    size_t count;
} karec_scatter_violation;
#define KAREC_SCATTER_VIOLATION_INIT {sizeof(karec_scatter_violation), 0, 0, 0}

/* (1 - diversity) / (2·diversity): 1 gives 0, 0 gives inf.
 *   diversity  in [0, 1] */
KAREC_C_API double karec_dpp_alpha(double diversity);
/* A greedy DPP over vectors. O(n·k·cols) at worst.
 *   embeddings  n rows, finite
 *   relevance   n, finite
 *   n           items
 *   options     start from KAREC_DPP_OPTIONS_INIT
 *   indices     k: which items, in the order of picking
 *   gains       k: the gain of each when it was picked
 *   k           >= 1; min(k, n) are selected at most
 *   count       *count: how many were */
KAREC_C_API karec_status karec_dpp_select(const karec_matrix* embeddings, const float* relevance, size_t n,
                                          const karec_dpp_options* options, int64_t* indices, double* gains, size_t k,
                                          karec_dpp_count* count);
/* The same on a kernel of one's own, without a fill. O(n·k²).
 *   kernel      (n, n), symmetric positive semi-definite, finite
 *   n           items
 *   row_stride  bytes from a row to the next, a multiple of 8; 0 = side by side
 *   window      0 = none
 *   indices     k: which items, in the order of picking
 *   gains       k: the gain of each when it was picked
 *   k           >= 1
 *   count       *count: how many were selected */
KAREC_C_API karec_status karec_dpp_select_kernel(const double* kernel, size_t n, size_t row_stride, size_t window,
                                                 int64_t* indices, double* gains, size_t k, karec_dpp_count* count);
/* Maximal marginal relevance (mmr_ssd.hpp) by vectors alone; with facets: karec_mmr_select_with.
 *   embeddings  n rows, finite
 *   relevance   n, finite
 *   n           items
 *   diversity   in [0, 1]; 0 = by relevance alone
 *   shown       NULL = nothing was shown; else rows of the embeddings' cols, finite
 *   window      0 = none
 *   indices     k: which items, in the order of picking
 *   scores      k: the score of each when it was picked
 *   k           >= 1
 *   selected    *selected: how many entries were written, min(k, n) */
KAREC_C_API karec_status karec_mmr_select(const karec_matrix* embeddings, const float* relevance, size_t n,
                                          double diversity, const karec_matrix* shown, size_t window, int64_t* indices,
                                          double* scores, size_t k, size_t* selected);
/* Maximal marginal relevance (mmr_ssd.hpp). Since version 5.
 *   embeddings  n rows, finite
 *   relevance   n, finite
 *   n           items
 *   options     start from KAREC_MMR_SSD_OPTIONS_INIT
 *   indices     k: which items, in the order of picking
 *   scores      k: the score of each when it was picked
 *   k           >= 1
 *   selected    *selected: how many entries were written, min(k, n) */
KAREC_C_API karec_status karec_mmr_select_with(const karec_matrix* embeddings, const float* relevance, size_t n,
                                               const karec_mmr_ssd_options* options, int64_t* indices, double* scores,
                                               size_t k, size_t* selected);
/* Sliding spectrum decomposition (mmr_ssd.hpp) by vectors alone; with facets: karec_ssd_select_with.
 *   embeddings  n rows, finite
 *   relevance   n, finite
 *   n           items
 *   diversity   in [0, 1]; 0 = by relevance alone
 *   shown       NULL = nothing was shown; else rows of the embeddings' cols, finite
 *   window      0 = none
 *   indices     k: which items, in the order of picking
 *   scores      k: the score of each when it was picked
 *   k           >= 1
 *   selected    *selected: how many entries were written, min(k, n) */
KAREC_C_API karec_status karec_ssd_select(const karec_matrix* embeddings, const float* relevance, size_t n,
                                          double diversity, const karec_matrix* shown, size_t window, int64_t* indices,
                                          double* scores, size_t k, size_t* selected);
/* Sliding spectrum decomposition (mmr_ssd.hpp). Since version 5.
 *   embeddings  n rows, finite
 *   relevance   n, finite
 *   n           items
 *   options     start from KAREC_MMR_SSD_OPTIONS_INIT
 *   indices     k: which items, in the order of picking
 *   scores      k: the score of each when it was picked
 *   k           >= 1
 *   selected    *selected: how many entries were written, min(k, n) */
KAREC_C_API karec_status karec_ssd_select_with(const karec_matrix* embeddings, const float* relevance, size_t n,
                                               const karec_mmr_ssd_options* options, int64_t* indices, double* scores,
                                               size_t k, size_t* selected);
/* The list 0 … n - 1, best first, rearranged so that the rules hold (scatter.hpp).
 *   n               items of the list
 *   rules           n_rules; may be NULL where that is 0
 *   n_rules         rules
 *   indices         k: the item at each place
 *   k               places, <= n
 *   violations      room for max_violations; may be NULL where that is 0
 *   max_violations  the first so many violations are written
 *   n_violations    *n_violations: how many there are */
KAREC_C_API karec_status karec_scatter(size_t n, const karec_scatter_rule* rules, size_t n_rules, int64_t* indices,
                                       size_t k, karec_scatter_violation* violations, size_t max_violations,
                                       size_t* n_violations);

/* ---- prerank whole -------------------------------------------------------------------------------------------- */

typedef struct karec_preranker karec_preranker;

/* A C-contiguous array for the user tower, by the name of its input. */
typedef struct karec_tensor {
    size_t struct_size;
    const char* name;
    const void* data;     /* as many elements as the shape says; may be NULL where those are 0 */
    const int64_t* shape; /* rank sizes; the first is 1, one user */
    size_t rank;
    karec_dtype dtype; /* KAREC_INT64 or KAREC_FLOAT32 */
} karec_tensor;
#define KAREC_TENSOR_INIT {sizeof(karec_tensor), NULL, NULL, NULL, 0, KAREC_FLOAT32}

/* A user by raw ids, as the host knows the user at the request's moment. What is NULL is what the bundle's snapshot
 * knows. Ids that it does not know are allowed: such a user is served as one whom nobody knows, such a work keeps its
 * place in the list. Lists are oldest first, and the last ids are read; a list that is not NULL and has 0 ids says that
 * there are none. */
typedef struct karec_user {
    size_t struct_size;
    int64_t user_id;
    const int64_t* history; /* n_history works that the user enjoyed */
    size_t n_history;
    const int64_t* skipped; /* n_skipped works that were shown and passed over */
    size_t n_skipped;
    const int64_t* follows; /* n_follows creators */
    size_t n_follows;
    const int64_t* friends; /* n_friends users */
    size_t n_friends;
    /* n_counters, "count_exposed" and "count_<label>", of one of the two arrays at least; NULL where that is 0 */
    const char* const* counter_names;
    const float* counters;       /* n_counters, finite and >= 0, over all scenes; NULL = the snapshot's */
    const float* scene_counters; /* n_counters, in the request's scene; NULL = the snapshot's */
    size_t n_counters;
} karec_user;
#define KAREC_USER_INIT {sizeof(karec_user), 0, NULL, 0, NULL, 0, NULL, 0, NULL, 0, NULL, NULL, NULL, 0}

/* An input that the user tower asks for. */
typedef struct karec_tensor_spec {
    size_t struct_size;
    size_t rank;
    int64_t shape[8]; /* rank of them; -1 = any size, as the first axis, rows */
    char name[128];   /* ends with 0 */
    karec_dtype dtype;
} karec_tensor_spec;
#define KAREC_TENSOR_SPEC_INIT {sizeof(karec_tensor_spec), 0, {0}, {0}, 0}

/* What one step of a run did. */
typedef struct karec_step_metrics {
    size_t struct_size;
    const char* step; /* valid while the callback runs */
    size_t n_in;      /* candidates before the step */
    size_t n_out;     /* and after it */
    size_t n_unknown; /* of n_out: without a row in the index */
    uint64_t nanoseconds;
    int64_t model_version; /* of the bundle */
} karec_step_metrics;

typedef struct karec_preranker_options {
    size_t struct_size;
    int32_t trust;           /* not 0: contents of files are taken on trust */
    int32_t tower_threads;   /* threads inside one run of a tower; 0 = 1 */
    const char* onnxruntime; /* path of ONNX Runtime's library; NULL: every request brings its user_vector */
    /* NULL, or called after each step, on the thread that runs the request. */
    void (*on_step)(void* context, const karec_step_metrics* metrics);
    void* context; /* for on_step, which may be called until the preranker is closed; may be NULL */
} karec_preranker_options;
#define KAREC_PRERANKER_OPTIONS_INIT {sizeof(karec_preranker_options), 0, 1, NULL, NULL, NULL}

typedef struct karec_prerank_request {
    size_t struct_size;
    const int64_t* candidates;  /* n_candidates works, each once */
    const float* recall_scores; /* n_candidates, finite; NULL = all 0 */
    size_t n_candidates;
    const float* user_vector;        /* dim floats, finite; NULL: the towers compute it from user or user_inputs */
    size_t dim;                      /* the index's; of no account where user_vector is NULL */
    const karec_tensor* user_inputs; /* n_user_inputs; may be NULL where that is 0 */
    size_t n_user_inputs;
    int64_t time_ms;      /* the moment that ages and freshness are computed as of */
    const int64_t* shown; /* n_shown works that the session has seen; may be NULL where n_shown is 0 */
    size_t n_shown;
    size_t k; /* >= 1, for a dpp step that names no k */
    /* NULL, with n_versions 0: user_vector is for every row. Else user_vector is n_versions of them side by side, each
     * for the rows of its model version; rows of another version are left out and counted. */
    const int64_t* model_versions;
    size_t n_versions;
    /* Since version 5: who asks, by raw ids, encoded for the towers by the bundle's encoder and snapshot. NULL, or
     * neither user_vector nor user_inputs. */
    const karec_user* user;
} karec_prerank_request;
#define KAREC_PRERANK_REQUEST_INIT \
    {sizeof(karec_prerank_request), NULL, NULL, 0, NULL, 0, NULL, 0, 0, NULL, 0, 10, NULL, 0, NULL}

/* Output of a run: three arrays of n entries, best first. */
typedef struct karec_preranked {
    size_t struct_size;
    float* scores;
    int64_t* ids;
    int32_t* rows; /* of the generation that karec_prerank_count names */
    size_t n;      /* at least what karec_preranker_most says */
} karec_preranked;
#define KAREC_PRERANKED_INIT {sizeof(karec_preranked), NULL, NULL, NULL, 0}

typedef struct karec_prerank_count {
    size_t struct_size;
    size_t found;        /* entries of karec_preranked that were written */
    size_t unknown;      /* candidates that a step dropped as unknown to the index, or of a version without a vector */
    size_t blocked;      /* candidates dropped because they are blocked */
    uint64_t generation; /* of the index, that the run read */
    int64_t model_version; /* of the bundle that served */
} karec_prerank_count;
#define KAREC_PRERANK_COUNT_INIT {sizeof(karec_prerank_count), 0, 0, 0, 0, 0}

/* The host's threads: calls task(data, i) once for each i < n, from any threads, and returns, or throws, when no task
 * runs any more. context is what was given beside it. */
typedef void (*karec_parallel)(void* context, size_t n, void (*task)(void* data, size_t i), void* data);

/* Opens a published bundle, and the steps that a request goes through.
 *   root       a folder that holds `current`, or a bundle's folder
 *   settings   a file that `karec export stage` wrote
 *   options    NULL = KAREC_PRERANKER_OPTIONS_INIT
 *   preranker  *preranker: a new handle, the caller's to close */
KAREC_C_API karec_status karec_preranker_open(const char* root, const char* settings,
                                              const karec_preranker_options* options, karec_preranker** preranker);
/*   preranker  a handle that no call uses any more; NULL is passed over */
KAREC_C_API void karec_preranker_close(karec_preranker* preranker);
/* How much room a run of the request needs.
 *   preranker  a handle
 *   request    as for karec_preranker_run
 *   most       *most: the most entries that the run may write */
KAREC_C_API karec_status karec_preranker_most(const karec_preranker* preranker, const karec_prerank_request* request,
                                              size_t* most);
/* Runs the steps for one request.
 *   preranker  a handle
 *   request    start from KAREC_PRERANK_REQUEST_INIT
 *   out        its arrays get the best of the candidates
 *   count      *count: how many, and what was dropped */
KAREC_C_API karec_status karec_preranker_run(const karec_preranker* preranker, const karec_prerank_request* request,
                                             const karec_preranked* out, karec_prerank_count* count);
/* Several requests on one bundle, in parallel. Each has its own status: where that is KAREC_OK, out and count are
 * written, else both are left alone. Returned is the first failure.
 *   preranker  a handle
 *   requests   n
 *   outs       n
 *   counts     n
 *   statuses   n; KAREC_UNAVAILABLE also where a request did not run: parallel left it out, or an argument was refused,
 *              which refuses the batch
 *   n          requests
 *   n_threads  threads that run them, the calling one among them, where parallel is NULL; 0 = 1
 *   parallel   the host's threads; NULL = n_threads of the library's
 *   context    handed to parallel; may be NULL */
KAREC_C_API karec_status karec_preranker_run_batch(const karec_preranker* preranker,
                                                   const karec_prerank_request* requests, const karec_preranked* outs,
                                                   karec_prerank_count* counts, karec_status* statuses, size_t n,
                                                   size_t n_threads, karec_parallel parallel, void* context);
/* Serves the bundle that `current` names now, if it is another one. Runs go on meanwhile. When it fails, the old one
 * serves on.
 *   preranker  a handle
 *   reloaded   NULL, or *reloaded: 1 where another bundle serves from now on, else 0 */
KAREC_C_API karec_status karec_preranker_reload(karec_preranker* preranker, int32_t* reloaded);
/*   preranker      a handle
 *   model_version  *model_version: of the bundle that serves now */
KAREC_C_API karec_status karec_preranker_model_version(const karec_preranker* preranker, int64_t* model_version);
/* What the tower of the bundle that serves now asks for. KAREC_UNAVAILABLE: there is no tower, or a name or a rank that
 * no spec holds.
 *   preranker  a handle
 *   specs      room for max_specs; may be NULL where that is 0
 *   max_specs  the first so many inputs are written
 *   n_specs    *n_specs: how many there are */
KAREC_C_API karec_status karec_preranker_tower_inputs(const karec_preranker* preranker, karec_tensor_spec* specs,
                                                      size_t max_specs, size_t* n_specs);
/* The bundle's index, to adjust, block and upsert while runs go on, and to search.
 *   preranker  a handle
 *   index      *index: a new handle, the caller's to close; it may outlive the preranker */
KAREC_C_API karec_status karec_preranker_index(const karec_preranker* preranker, karec_index** index);

#ifdef __cplusplus
}
#endif

#endif
