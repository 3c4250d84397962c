/* clang-format off */
/* karec for C, and for any language with a C foreign-function interface, such as Rust or Go.
 *
 * Status     A function that can fail returns a karec_status; KAREC_OK is 0. After a failure karec_last_error() is the
 *            message in the calling thread, and handles and output are unchanged; only output of a batch may be written
 *            in part. No function throws, prints or aborts.
 * Handles    karec_index, karec_filter and karec_stages are opaque. Close each once, after the last call that uses it.
 *            Any number of threads may call every other function on one handle. item_index.hpp, index_view.hpp,
 *            filter.hpp and stages.hpp document the C++ functions of the same name in more detail.
 * Structs    The first member is the size. Start from KAREC_…_INIT: it sets the size and the defaults of the C++ API. A
 *            newer library reads members that an older caller lacks as 0. An older library rejects a struct with
 *            unknown members that are not 0. Structs of one array have one struct_size.
 * Pointers   Not NULL unless documented, and aligned; else the call is rejected. An array of length 0 may be NULL. The
 *            caller owns structs and arrays and must not change them during the call; the library stores no pointer to
 *            them. Strings end with 0.
 * Units      Lengths are elements. Ids are any int64. Times are Unix milliseconds. Scores are float32, larger is better.
 * Callbacks  on_step must not jump out (longjmp). If it throws (C++), the exception is ignored.
 * Files      Never write into an open index file or bundle: replace it by rename(), as karec does. A mapped file that is
 *            truncated ends the process (SIGBUS); one that is overwritten gives undefined results. karec_open_options
 *            can copy an index into memory.
 * Fork       fork() waits for running writes. Handles work in the child, except pinned ones of other threads: they are
 *            rejected with KAREC_UNAVAILABLE. With ONNX Runtime, the child must open its own karec_stages.
 * Changes    KAREC_ABI_VERSION is 1 until the first release, and increases with every later change of this file.
 *            Released declarations keep their meaning while the library's file name (libkarec.so.MAJOR) is the same.
 *
 * Common parameters of the functions; the comment of a function has the others:
 *   index       a handle. Functions that write reject a pinned one
 *   stages      a handle
 *   ids         n item ids
 *   rows        n rows of the generation that the call reads: pin the index if they come from an earlier call
 *   n           number of items
 *   unknown     NULL, or *unknown: number of ids that are not in the index. They are skipped
 *   query       vector of the user
 *   candidates  items to score
 *   embeddings  n rows, finite
 *   relevance   n, finite
 *   options     NULL = the struct's KAREC_…_INIT
 *   indices     k: selected items in selection order
 *   k           >= 1. At most min(k, n) items are selected
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

#define KAREC_ABI_VERSION 1u

typedef int32_t karec_status;
#define KAREC_OK 0
#define KAREC_INVALID_ARGUMENT 1 /* a mistake of the caller */
#define KAREC_BAD_FORMAT 2       /* a file is truncated, altered, newer, or has another byte order */
#define KAREC_IO_ERROR 3         /* the operating system failed; karec_last_system_error() is its errno */
#define KAREC_OUT_OF_MEMORY 4
#define KAREC_UNAVAILABLE 5 /* something required is missing: a library, a user vector, a thread */

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

/* Returns KAREC_ABI_VERSION of the library, which may be newer than the header. */
KAREC_C_API uint32_t karec_abi_version(void);
/* Returns the version, such as "0.1.0". Valid as long as the library is loaded. */
KAREC_C_API const char* karec_version(void);
/* Returns the instruction set in use, such as "generic" or "avx2". Results do not depend on it. */
KAREC_C_API const char* karec_isa(void);
/* Returns the message of this thread's last failed call, or "". Valid until its next failure; do not free it. */
KAREC_C_API const char* karec_last_error(void);
/* Returns the errno of that failure, or 0 if the operating system did not cause it. */
KAREC_C_API int32_t karec_last_system_error(void);

/* ---- the item index ------------------------------------------------------------------------------------------- */

typedef struct karec_index karec_index;

/* (rows, cols) values in C order. */
typedef struct karec_matrix {
    size_t struct_size;
    const void* data; /* may be NULL if rows or cols is 0 */
    size_t rows;
    size_t cols;
    karec_dtype dtype; /* KAREC_FLOAT16 or KAREC_FLOAT32 */
} karec_matrix;
#define KAREC_MATRIX_INIT {sizeof(karec_matrix), NULL, 0, 0, KAREC_FLOAT32}

/* One value for each item of a call. */
typedef struct karec_column {
    size_t struct_size;
    const char* name; /* UTF-8, 1 to 95 bytes */
    const void* data; /* n elements */
    size_t n;
    karec_dtype dtype;
} karec_column;
#define KAREC_COLUMN_INIT {sizeof(karec_column), NULL, NULL, 0, 0}

typedef struct karec_build_options {
    size_t struct_size;
    karec_dtype dtype;           /* of stored vectors: KAREC_FLOAT16, _FLOAT32 or _INT8; 0 = KAREC_FLOAT16 */
    int32_t rescore;             /* not 0, only for KAREC_INT8: store float32 rows too, and rank results by them */
    int64_t model_version;       /* of the tower that computed the vectors */
    const karec_column* columns; /* n_columns */
    size_t n_columns;
    const karec_column* code_columns; /* n_code_columns, KAREC_UINT32: the codes that tables of a query look up */
    size_t n_code_columns;            /* at most 16 */
} karec_build_options;
#define KAREC_BUILD_OPTIONS_INIT {sizeof(karec_build_options), KAREC_FLOAT16, 0, 0, NULL, 0, NULL, 0}

typedef struct karec_open_options {
    size_t struct_size;
    int32_t trust; /* not 0: do not verify contents; header, table, sizes and bounds are always verified */
    int32_t copy;  /* not 0: read the file into memory, so that later changes of the file have no effect */
} karec_open_options;
#define KAREC_OPEN_OPTIONS_INIT {sizeof(karec_open_options), 0, 0}

typedef struct karec_index_info {
    size_t struct_size;
    size_t size;           /* items */
    size_t n_rows;         /* rows, including those of removed items; every row is below n_rows */
    size_t dim;            /* values of a vector */
    size_t bytes;          /* of memory, mapped or allocated, that grows with the items */
    karec_dtype dtype;     /* of stored vectors */
    int32_t rescores;      /* not 0: searches rank the best items by float32 rows */
    int64_t model_version; /* of the newest vectors */
    uint64_t generation;   /* identifies the contents: 1 after a build, one more after each write */
} karec_index_info;
#define KAREC_INDEX_INFO_INIT {sizeof(karec_index_info), 0, 0, 0, 0, 0, 0, 0, 0}

/* What the codes of one code column add to scores: values[i] for codes[i], other for every other code. */
typedef struct karec_code_table {
    size_t struct_size;
    const uint32_t* codes; /* n, ascending, no duplicates */
    const float* values;   /* n, finite */
    size_t n;
    float other;
} karec_code_table;
#define KAREC_CODE_TABLE_INIT {sizeof(karec_code_table), NULL, NULL, 0, 0}

/* One vector for all rows; or, during a refresh, one for the rows of each model version. */
typedef struct karec_query {
    size_t struct_size;
    const float* values;            /* dim floats, finite; with n_versions: (n_versions, dim) */
    size_t dim;                     /* the index's */
    const int64_t* model_versions;  /* n_versions: version of each vector */
    size_t n_versions;              /* 0 = one vector for all rows */
    const karec_code_table* tables; /* n_tables; with n_versions: (n_versions, n_tables) */
    size_t n_tables;                /* 0, or the number of code columns of the index, in their order */
} karec_query;
#define KAREC_QUERY_INIT {sizeof(karec_query), NULL, 0, NULL, 0, NULL, 0}

/* n items, by id or by row. */
typedef struct karec_candidates {
    size_t struct_size;
    const int64_t* ids;  /* n, or NULL if rows are given */
    const int32_t* rows; /* n, or NULL if ids are given; -1 = unknown */
    size_t n;
} karec_candidates;
#define KAREC_CANDIDATES_INIT {sizeof(karec_candidates), NULL, NULL, 0}

/* Output of a search: four arrays of n entries, best first. */
typedef struct karec_ranked {
    size_t struct_size;
    float* scores;
    int64_t* ids;
    int32_t* rows;      /* of the generation that the call read */
    int64_t* positions; /* in the candidates; the row if all items are searched */
    size_t n;
} karec_ranked;
#define KAREC_RANKED_INIT {sizeof(karec_ranked), NULL, NULL, NULL, NULL, 0}

typedef struct karec_search_count {
    size_t struct_size;
    size_t found;        /* entries of karec_ranked that were written */
    size_t unknown;      /* candidates skipped: not in the index, or of a model version without a vector */
    size_t blocked;      /* candidates skipped: blocked */
    uint64_t generation; /* that the search read */
} karec_search_count;
#define KAREC_SEARCH_COUNT_INIT {sizeof(karec_search_count), 0, 0, 0, 0}

/* Builds an index in memory from copies of the arrays. O(n·dim).
 *   ids         no duplicates
 *   n           below 2^31
 *   embeddings  1 to 65536 columns
 *   index       *index: a new handle; the caller closes it */
KAREC_C_API karec_status karec_index_build(const int64_t* ids, size_t n, const karec_matrix* embeddings,
                                           const karec_build_options* options, karec_index** index);
/* Maps a file that karec_index_save wrote. Verifies it in O(file). Later writes change memory, not the file.
 *   path   of a regular file
 *   index  *index: a new handle; the caller closes it */
KAREC_C_API karec_status karec_index_open(const char* path, const karec_open_options* options, karec_index** index);
/* Writes a temporary file, syncs it and renames it: path is always the old or the whole new file.
 *   path  a regular file, or missing; else KAREC_IO_ERROR with EEXIST, also for a symbolic link */
KAREC_C_API karec_status karec_index_save(const karec_index* index, const char* path);
/* Pins the current generation: all calls on the view read it, also after later writes. Rows of one call are valid
 * in the next. The view keeps the index alive. Replaced rows are not reused before it is closed, so hold a view for
 * one request.
 *   index  not pinned
 *   view   *view: a new handle; the caller closes it */
KAREC_C_API karec_status karec_index_pin(const karec_index* index, karec_index** view);
/* Closes a handle, pinned or not. NULL is ignored. */
KAREC_C_API void karec_index_close(karec_index* index);
/* Describes the index.
 *   info  *info: sizes, types and versions */
KAREC_C_API karec_status karec_index_describe(const karec_index* index, karec_index_info* info);

/* Inserts items, or replaces their vectors, codes and columns, in one new generation. Blocks and adjustments stay.
 *   ids             no duplicates
 *   embeddings      of the index's dimension
 *   columns         n_columns, with names and dtypes of the index and n elements each
 *   n_columns       missing columns stay unchanged; a new item needs all
 *   code_columns    n_code_columns: all of the index, n elements each
 *   n_code_columns  0 if the index has none
 *   model_version   of these vectors */
KAREC_C_API karec_status karec_index_upsert(karec_index* index, const int64_t* ids, size_t n,
                                            const karec_matrix* embeddings, const karec_column* columns,
                                            size_t n_columns, const karec_column* code_columns, size_t n_code_columns,
                                            int64_t model_version);
/* Removes items. */
KAREC_C_API karec_status karec_index_remove(karec_index* index, const int64_t* ids, size_t n, size_t* unknown);
/* Blocks items: no search returns them. They stay in the index. */
KAREC_C_API karec_status karec_index_block(karec_index* index, const int64_t* ids, size_t n, size_t* unknown);
/* Unblocks items. */
KAREC_C_API karec_status karec_index_unblock(karec_index* index, const int64_t* ids, size_t n, size_t* unknown);
/* Sets scales and offsets: the score of an item is inner product · scale + offset. New items have 1 and 0.
 *   scales   n, finite; NULL = unchanged
 *   offsets  n, finite; NULL = unchanged */
KAREC_C_API karec_status karec_index_adjust(karec_index* index, const int64_t* ids, size_t n, const float* scales,
                                            const float* offsets, size_t* unknown);

/* Finds the position of a code column, which is that of its table in a karec_query.
 *   name      of the column
 *   position  output */
KAREC_C_API karec_status karec_index_find_code_column(const karec_index* index, const char* name, size_t* position);
/* Finds the row of each id.
 *   rows  n, output; -1 = unknown */
KAREC_C_API karec_status karec_index_lookup(const karec_index* index, const int64_t* ids, size_t n, int32_t* rows);
/* Computes the adjusted score of each candidate: inner product + values of its codes in the tables. O(candidates·dim).
 *   scores  candidates->n, output; -inf for an unknown or blocked item
 *   count   NULL, or *count: number of scored and skipped candidates */
KAREC_C_API karec_status karec_index_scores(const karec_index* index, const karec_query* query,
                                            const karec_candidates* candidates, float* scores,
                                            karec_search_count* count);
/* Finds the best candidates. O(candidates·dim).
 *   ranked  output: the best ranked->n of the candidates that have a score
 *   count   NULL, or *count; count->found is the number of entries written */
KAREC_C_API karec_status karec_index_search(const karec_index* index, const karec_query* query,
                                            const karec_candidates* candidates, const karec_ranked* ranked,
                                            karec_search_count* count);
/* Finds the best of all items, exactly, for several queries in one pass. O(n_queries·n_rows·dim).
 *   queries    n_queries
 *   n_queries  lists
 *   mask       n_mask bytes, one a row; 0 excludes the row. Compute it on a pinned handle, and search that handle
 *   n_mask     0 = every row. Fewer than n_rows, from an earlier generation: newer rows are excluded
 *   ranked     output: n_queries lists of ranked->n / n_queries entries; unused ones have score -inf and id, row,
 *              position -1
 *   counts     n_queries, output */
KAREC_C_API karec_status karec_index_search_all(const karec_index* index, const karec_query* queries, size_t n_queries,
                                                const uint8_t* mask, size_t n_mask, const karec_ranked* ranked,
                                                karec_search_count* counts);
/* Reads the vectors of rows; zeros for row -1 and for rows of removed items.
 *   vectors  (n, dim), output
 *   dim      the index's */
KAREC_C_API karec_status karec_index_gather(const karec_index* index, const int32_t* rows, size_t n, float* vectors,
                                            size_t dim);
/* Reads values of a column; zeros for row -1 and for rows of removed items.
 *   name    of the column
 *   dtype   of the column
 *   values  n elements of that dtype, output */
KAREC_C_API karec_status karec_index_gather_column(const karec_index* index, const char* name, const int32_t* rows,
                                                   size_t n, karec_dtype dtype, void* values);
/* Finds the dtype of a column.
 *   name   of the column
 *   dtype  *dtype: its type */
KAREC_C_API karec_status karec_index_column_dtype(const karec_index* index, const char* name, karec_dtype* dtype);

/* ---- filters of items ------------------------------------------------------------------------------------------ */

typedef struct karec_filter karec_filter;

typedef int32_t karec_filter_op;
#define KAREC_FILTER_ALL 1        /* all of the n_parts conditions before it are true */
#define KAREC_FILTER_ANY 2        /* one of the n_parts conditions before it is true */
#define KAREC_FILTER_NOT 3        /* the condition before it is false; n_parts is 1 */
#define KAREC_FILTER_IN 4         /* the column has one of the values */
#define KAREC_FILTER_LESS 5       /* the column is less than the value */
#define KAREC_FILTER_AT_LEAST 6   /* the column is not less than the value */
#define KAREC_FILTER_BETWEEN 7    /* the column is from the first to the second value, which are included */
#define KAREC_FILTER_IS_MISSING 8 /* the column is NaN, or negative in a category; takes no values */

/* A comparison with a column, or a join of the conditions before it (postfix order). A comparison with a missing value
 * is unknown, as in SQL. */
typedef struct karec_filter_term {
    size_t struct_size;
    karec_filter_op op;
    int32_t is_category;     /* not 0: negative values are missing */
    size_t n_parts;          /* of a join; else 0 */
    const char* column;      /* of a comparison; else NULL */
    const int64_t* integers; /* n_values, for a column of integers or booleans; else NULL */
    const double* numbers;   /* n_values, for a floating column, finite; else NULL */
    size_t n_values;         /* at most 1000 */
} karec_filter_term;
#define KAREC_FILTER_TERM_INIT {sizeof(karec_filter_term), 0, 0, 0, NULL, NULL, NULL, 0}

/* Compiles a filter, which may be used with any index.
 *   terms    n_terms: at most 96 comparisons, in joins that are at most 17 deep
 *   n_terms  0 = every item
 *   filter   *filter: a new handle; the caller closes it */
KAREC_C_API karec_status karec_filter_create(const karec_filter_term* terms, size_t n_terms, karec_filter** filter);
/* Marks the rows whose item satisfies the filter and is not blocked, for karec_index_search_all. O(n_rows).
 *   filter  a handle
 *   mask    n_mask bytes, output: 1 or 0
 *   n_mask  n_rows of the index: pin it */
KAREC_C_API karec_status karec_filter_mask(const karec_filter* filter, const karec_index* index, uint8_t* mask,
                                           size_t n_mask);
/* Updates a mask of an earlier generation. Reads only the rows that changed since.
 *   filter      a handle
 *   generation  of the mask
 *   mask        n_mask bytes, which begin with the filter's mask of that generation
 *   n_mask      n_rows of the index: pin it */
KAREC_C_API karec_status karec_filter_update(const karec_filter* filter, const karec_index* index, uint64_t generation,
                                             uint8_t* mask, size_t n_mask);
/* Closes a handle. NULL is ignored.
 *   filter  a handle, or NULL */
KAREC_C_API void karec_filter_close(karec_filter* filter);

/* ---- diversity and rules -------------------------------------------------------------------------------------- */

/* dpp.hpp documents each member. */
typedef struct karec_dpp_options {
    size_t struct_size;
    double alpha;         /* >= 0, or inf: only relevance; karec_dpp_alpha(diversity) */
    double ridge;         /* in [0, 10] */
    const float* weights; /* n, >= 0, finite; NULL = all 1 */
    const int64_t* types; /* n codes of any value; NULL = no types */
    double type_weight;   /* in [0, 1]; above 0 it needs types */
    size_t max_per_type;  /* 0 = no limit; else needs types */
    size_t min_per_type;  /* at most max_per_type; above 0 it needs types */
    size_t n_facets;
    const int64_t* facets;       /* (n_facets, n) codes of any value; items with one code are similar */
    const double* facet_weights; /* n_facets, >= 0; their sum with type_weight is at most 1 */
    const karec_matrix* shown;   /* items shown before; NULL = none; else rows of the same dimension, finite */
    const int64_t* shown_facets; /* (n_facets, shown->rows); NULL = shown items have no codes */
    size_t window;               /* 0 = no window */
    int32_t fill;                /* not 0: continue by relevance when no item adds diversity */
} karec_dpp_options;
#define KAREC_DPP_OPTIONS_INIT \
    {sizeof(karec_dpp_options), 0.5, 1e-2, NULL, NULL, 0.0, 0, 0, 0, NULL, NULL, NULL, NULL, 0, 1}

/* mmr_ssd.hpp documents each member. */
typedef struct karec_mmr_ssd_options {
    size_t struct_size;
    double diversity; /* in [0, 1]; 0 = only relevance */
    size_t n_facets;
    const int64_t* facets;       /* (n_facets, n) codes of any value; items with one code are similar */
    const double* facet_weights; /* n_facets, >= 0, sum at most 1 */
    const karec_matrix* shown;   /* items shown before; NULL = none; else rows of the same dimension, finite */
    const int64_t* shown_facets; /* (n_facets, shown->rows); NULL = shown items have no codes */
    size_t window;               /* 0 = no window */
} karec_mmr_ssd_options;
#define KAREC_MMR_SSD_OPTIONS_INIT {sizeof(karec_mmr_ssd_options), 0.5, 0, NULL, NULL, NULL, NULL, 0}

typedef struct karec_dpp_count {
    size_t struct_size;
    size_t selected; /* entries of indices and gains that were written */
    size_t n_dpp;    /* how many of them the DPP selected; the others are fill, with gain 0 */
    double log_det;  /* sum of log gain over the n_dpp items */
} karec_dpp_count;
#define KAREC_DPP_COUNT_INIT {sizeof(karec_dpp_count), 0, 0, 0.0}

/* Returns (1 - diversity) / (2·diversity): 0 for 1, inf for 0.
 *   diversity  in [0, 1] */
KAREC_C_API double karec_dpp_alpha(double diversity);
/* Selects items by a greedy DPP over vectors. At most O(n·k·cols).
 *   gains  k, output: gain of each item when it was selected
 *   count  *count: number of selected items */
KAREC_C_API karec_status karec_dpp_select(const karec_matrix* embeddings, const float* relevance, size_t n,
                                          const karec_dpp_options* options, int64_t* indices, double* gains, size_t k,
                                          karec_dpp_count* count);
/* Selects items by a greedy DPP over the caller's kernel, without fill. O(n·k²).
 *   kernel  (n, n), symmetric positive semi-definite, finite
 *   window  0 = no window
 *   gains   k, output: gain of each item when it was selected
 *   count   *count: number of selected items */
KAREC_C_API karec_status karec_dpp_select_kernel(const double* kernel, size_t n, size_t window, int64_t* indices,
                                                 double* gains, size_t k, karec_dpp_count* count);
/* Selects items by maximal marginal relevance (mmr_ssd.hpp).
 *   scores    k, output: score of each item when it was selected
 *   selected  *selected: number of selected items */
KAREC_C_API karec_status karec_mmr_select(const karec_matrix* embeddings, const float* relevance, size_t n,
                                          const karec_mmr_ssd_options* options, int64_t* indices, double* scores,
                                          size_t k, size_t* selected);
/* Selects items by sliding spectrum decomposition (mmr_ssd.hpp).
 *   scores    k, output: score of each item when it was selected
 *   selected  *selected: number of selected items */
KAREC_C_API karec_status karec_ssd_select(const karec_matrix* embeddings, const float* relevance, size_t n,
                                          const karec_mmr_ssd_options* options, int64_t* indices, double* scores,
                                          size_t k, size_t* selected);

/* ---- stages of a scene ---------------------------------------------------------------------------------------- */

typedef struct karec_stages karec_stages;

/* A user by raw ids. NULL arrays are read from the bundle's snapshot. An unknown user is a cold start; an unknown item
 * stays in its list. Lists are oldest first; only the newest ids are read. If not NULL, a list of 0 ids is empty. */
typedef struct karec_user {
    size_t struct_size;
    int64_t user_id;
    const int64_t* history; /* n_history items that the user enjoyed */
    size_t n_history;
    const int64_t* skipped; /* n_skipped items that were shown and that the user skipped */
    size_t n_skipped;
    const int64_t* follows; /* n_follows creators */
    size_t n_follows;
    const int64_t* friends; /* n_friends users */
    size_t n_friends;
    const char* const* counter_names; /* n_counters, "count_exposed" and "count_<label>" */
    const float* counters;            /* n_counters, finite and >= 0, in all scenes */
    const float* scene_counters;      /* n_counters, in the scene of the stages */
    size_t n_counters;
} karec_user;
#define KAREC_USER_INIT {sizeof(karec_user), 0, NULL, 0, NULL, 0, NULL, 0, NULL, 0, NULL, NULL, NULL, 0}

/* One step of one run. */
typedef struct karec_step_metrics {
    size_t struct_size;
    const char* stage; /* valid during the callback */
    const char* step;
    size_t n_in; /* candidates */
    size_t n_out;
    size_t n_unknown; /* of n_out: without a row in the index */
    uint64_t nanoseconds;
    int64_t model_version; /* of the bundle */
} karec_step_metrics;

typedef struct karec_stages_options {
    size_t struct_size;
    int32_t trust;           /* not 0: do not compare checksums of files */
    const char* onnxruntime; /* path of ONNX Runtime's library; NULL: no ranker, and requests have a user_vector */
    void (*on_step)(void* context, const karec_step_metrics* metrics); /* called after each step; may be NULL */
    void* context;                                                     /* for on_step; may be NULL */
} karec_stages_options;
#define KAREC_STAGES_OPTIONS_INIT {sizeof(karec_stages_options), 0, NULL, NULL, NULL}

typedef struct karec_request {
    size_t struct_size;
    const int64_t* candidates; /* n_candidates items, each once */
    const float* scores;       /* n_candidates, finite; NULL = all 0 */
    size_t n_candidates;
    const karec_user* user;         /* the ranker and the user towers read it; NULL if none runs */
    const karec_query* user_vector; /* with tables if the towers are wide; NULL: the user towers compute it */
    int64_t time_ms;                /* for ages and freshness */
    const int64_t* shown;           /* n_shown items that the session has seen, oldest first */
    size_t n_shown;
    size_t k; /* >= 1: items of the page, for selectors without a k of their own */
} karec_request;
#define KAREC_REQUEST_INIT {sizeof(karec_request), NULL, NULL, 0, NULL, NULL, 0, NULL, 0, 10}

/* Output of a run, best first. Set the arrays and their capacity. */
typedef struct karec_page {
    size_t struct_size;
    int64_t* ids;    /* capacity */
    float* scores;   /* capacity */
    int32_t* rows;   /* capacity, in `generation`; -1: an item without a row */
    size_t capacity; /* n_candidates always suffices */
    size_t n_items;
    size_t n_unknown; /* candidates dropped: not in the index, or no user vector of their model version */
    size_t n_blocked; /* candidates dropped: blocked */
    size_t n_broken_rules;
    uint64_t generation;   /* of the index */
    int64_t model_version; /* of the bundle */
} karec_page;
#define KAREC_PAGE_INIT {sizeof(karec_page), NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0}

/* Opens a bundle and the stages that requests run.
 *   root      a folder that has `current`, or a bundle's folder
 *   settings  a file of `karec export stage`
 *   stages    *stages: a new handle */
KAREC_C_API karec_status karec_stages_open(const char* root, const char* settings, const karec_stages_options* options,
                                           karec_stages** stages);
/* Closes a handle. NULL is ignored. */
KAREC_C_API void karec_stages_close(karec_stages* stages);
/* Runs the steps of all stages for one request.
 *   request  start from KAREC_REQUEST_INIT
 *   page     start from KAREC_PAGE_INIT. Rejected if its capacity is too small */
KAREC_C_API karec_status karec_stages_run(const karec_stages* stages, const karec_request* request, karec_page* page);
/* Opens the bundle that `current` names if it is another one. Runs do not wait. If it fails, the old bundle stays.
 *   reloaded  NULL, or *reloaded: 1 if another bundle was opened, else 0 */
KAREC_C_API karec_status karec_stages_reload(karec_stages* stages, int32_t* reloaded);
/* Finds the model version of the current bundle.
 *   model_version  *model_version: the version */
KAREC_C_API karec_status karec_stages_model_version(const karec_stages* stages, int64_t* model_version);
/* Returns the index of the current bundle, to search and change it during runs.
 *   index  *index: a new handle; it may outlive `stages` */
KAREC_C_API karec_status karec_stages_index(const karec_stages* stages, karec_index** index);

#ifdef __cplusplus
}
#endif

#endif
