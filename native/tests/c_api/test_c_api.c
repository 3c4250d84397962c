/* The C interface in C, linked with the shared library: results, golden files, and errors of bad arguments. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "karec/karec.h"

static int failures = 0;
#define CHECK(condition)                                                        \
    do {                                                                        \
        if (condition) break;                                                   \
        ++failures;                                                             \
        fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
    } while (0)
#define REFUSED(call, code, part) CHECK((call) == (code) && says(part))

static int says(const char* part) {
    if (strstr(karec_last_error(), part) != NULL) return 1;
    fprintf(stderr, "got: %s\n", karec_last_error());
    return 0;
}

enum { N = 6, D = 4 };
static const int64_t ids[N] = {10, 11, 12, -5, 14, 15};
static float vectors[N][D];
static const int64_t creators[N] = {1, 1, 2, 2, 3, 3};

static karec_matrix matrix(void) {
    karec_matrix m = KAREC_MATRIX_INIT;
    m.data = vectors;
    m.rows = N;
    m.cols = D;
    return m;
}

static karec_index* build(void) {
    for (int i = 0; i < N; ++i) {
        for (int d = 0; d < D; ++d) vectors[i][d] = d == i % D ? (float)(i + 1) : 0.0f;
    }
    const karec_column column = {sizeof column, "creator_id", creators, N, KAREC_INT64};
    karec_build_options options = KAREC_BUILD_OPTIONS_INIT;
    options.dtype = KAREC_FLOAT32;
    options.model_version = 7;
    options.columns = &column;
    options.n_columns = 1;
    const karec_matrix m = matrix();
    karec_index* index = NULL;
    CHECK(karec_index_build(ids, N, &m, &options, &index) == KAREC_OK);
    return index;
}

static float scores[N];
static int64_t found[N];
static int32_t rows[N];
static int64_t positions[N];
static const karec_ranked ranked = {sizeof ranked, scores, found, rows, positions, 3};

static void index_answers(void) {
    karec_index* index = build();
    karec_index_info info = KAREC_INDEX_INFO_INIT;
    CHECK(karec_index_describe(index, &info) == KAREC_OK);
    CHECK(info.size == N && info.dim == D && info.dtype == KAREC_FLOAT32 && info.model_version == 7);
    const float user[D] = {1.0f, 1.0f, 1.0f, 1.0f};
    karec_query query = KAREC_QUERY_INIT;
    query.values = user;
    query.dim = D;
    const int64_t asked[] = {14, 99, 10, 15};
    karec_candidates among = KAREC_CANDIDATES_INIT;
    among.ids = asked;
    among.n = 4;
    karec_search_count count = KAREC_SEARCH_COUNT_INIT;
    CHECK(karec_index_search(index, &query, &among, &ranked, &count) == KAREC_OK);
    CHECK(count.found == 3 && count.unknown == 1 && count.struct_size == sizeof count);
    CHECK(found[0] == 15 && found[1] == 14 && found[2] == 10 && scores[0] == 6.0f && positions[0] == 3);

    size_t unknown = 9;
    const float offset = 100.0f;
    CHECK(karec_index_adjust(index, asked, 1, NULL, &offset, &unknown) == KAREC_OK && unknown == 0);
    CHECK(karec_index_block(index, asked + 1, 3, &unknown) == KAREC_OK && unknown == 1);
    CHECK(karec_index_search(index, &query, &among, &ranked, &count) == KAREC_OK);
    CHECK(count.found == 1 && count.blocked == 2 && found[0] == 14 && scores[0] == 105.0f);
    CHECK(karec_index_unblock(index, asked, 4, NULL) == KAREC_OK);

    const float other[D] = {1, 0, 0, 0};
    const karec_query users[2] = {query, {.struct_size = sizeof query, .values = other, .dim = D}};
    const karec_ranked two = {sizeof two, scores, found, rows, positions, 4};
    karec_search_count counts[2] = {KAREC_SEARCH_COUNT_INIT, KAREC_SEARCH_COUNT_INIT};
    CHECK(karec_index_search_all(index, users, 2, NULL, 0, &two, counts) == KAREC_OK);
    CHECK(counts[0].found == 2 && counts[1].found == 2 && found[0] == 14);
    CHECK(karec_index_search_all(index, &query, 1, NULL, 0, &ranked, counts) == KAREC_OK && counts[0].found == 3);

    float row[2][D];
    const int32_t wanted[] = {5, -1};
    CHECK(karec_index_gather(index, wanted, 2, row[0], D) == KAREC_OK);
    CHECK(row[0][1] == 6.0f && row[1][1] == 0.0f);
    int64_t held[2];
    CHECK(karec_index_gather_column(index, "creator_id", wanted, 2, KAREC_INT64, held) == KAREC_OK);
    CHECK(held[0] == 3 && held[1] == 0);
    REFUSED(karec_index_gather_column(index, "creator_id", wanted, 2, KAREC_INT32, held), KAREC_INVALID_ARGUMENT,
            "is of dtype int64, not int32");
    karec_index_close(index);
}

static void scores_add_tables(void) {
    const float vectors_of_3[3][1] = {{1}, {2}, {3}};
    const karec_matrix m = {sizeof m, vectors_of_3, 3, 1, KAREC_FLOAT32};
    const uint32_t creator_codes[3] = {7, 70000, 8};
    const uint32_t tags[3] = {0, 1, 2};
    const karec_column codes[2] = {{sizeof codes[0], "creator", creator_codes, 3, KAREC_UINT32},
                                   {sizeof codes[0], "tag", tags, 3, KAREC_UINT32}};
    karec_build_options options = KAREC_BUILD_OPTIONS_INIT;
    options.code_columns = codes;
    options.n_code_columns = 2;
    karec_index* index = NULL;
    CHECK(karec_index_build(ids, 3, &m, &options, &index) == KAREC_OK);
    size_t position = 9;
    CHECK(karec_index_find_code_column(index, "tag", &position) == KAREC_OK && position == 1);
    REFUSED(karec_index_find_code_column(index, "era", &position), KAREC_INVALID_ARGUMENT, "no code column 'era'");

    const uint32_t known[2] = {7, 70000};
    const float values[2] = {10, 20};
    const karec_code_table tables[2] = {{sizeof tables[0], known, values, 2, -1},
                                        {.struct_size = sizeof tables[0], .other = 0.5f}};
    const float user[1] = {1};
    karec_query query = {.struct_size = sizeof query, .values = user, .dim = 1, .tables = tables, .n_tables = 2};
    const karec_candidates among = {.struct_size = sizeof among, .ids = ids, .n = 3};
    CHECK(karec_index_scores(index, &query, &among, scores, NULL) == KAREC_OK);
    CHECK(scores[0] == 11.5f && scores[1] == 22.5f && scores[2] == 2.5f);
    CHECK(karec_index_search_all(index, &query, 1, NULL, 0, &ranked, &(karec_search_count)KAREC_SEARCH_COUNT_INIT) ==
          KAREC_OK);
    CHECK(found[0] == ids[1] && found[1] == ids[0] && found[2] == ids[2]);
    const int64_t version = 0;
    query.model_versions = &version;
    query.n_versions = 1;
    CHECK(karec_index_search(index, &query, &among, &ranked, NULL) == KAREC_OK && scores[0] == 22.5f);
    query.n_tables = 1;
    REFUSED(karec_index_search(index, &query, &among, &ranked, NULL), KAREC_INVALID_ARGUMENT,
            "has 1 tables, the index has 2 code columns");
    REFUSED(karec_index_upsert(index, ids, 3, &m, NULL, 0, codes, 1, 0), KAREC_INVALID_ARGUMENT,
            "code column 'tag' is missing");
    CHECK(karec_index_upsert(index, ids, 3, &m, NULL, 0, codes, 2, 0) == KAREC_OK);
    karec_index_close(index);
}

static void a_pinned_index_holds_its_generation(void) {
    karec_index* index = build();
    karec_index* view = NULL;
    CHECK(karec_index_pin(index, &view) == KAREC_OK && view != NULL);
    const int64_t asked[] = {14, 10};
    int32_t at[2];
    CHECK(karec_index_lookup(view, asked, 2, at) == KAREC_OK && at[0] == 4 && at[1] == 0);
    CHECK(karec_index_remove(index, asked, 2, NULL) == KAREC_OK);

    int64_t held[2];
    CHECK(karec_index_gather_column(view, "creator_id", at, 2, KAREC_INT64, held) == KAREC_OK);
    CHECK(held[0] == 3 && held[1] == 1);
    const float user[D] = {1.0f, 1.0f, 1.0f, 1.0f};
    const karec_query query = {.struct_size = sizeof query, .values = user, .dim = D};
    const karec_candidates among = {.struct_size = sizeof among, .rows = at, .n = 2};
    karec_search_count count = KAREC_SEARCH_COUNT_INIT;
    CHECK(karec_index_search(view, &query, &among, &ranked, &count) == KAREC_OK && count.found == 2);
    CHECK(count.generation == 1 && found[0] == 14 && found[1] == 10);
    CHECK(karec_index_search(index, &query, &among, &ranked, &count) == KAREC_OK && count.found == 0);
    karec_index_info info = KAREC_INDEX_INFO_INIT;
    CHECK(karec_index_describe(view, &info) == KAREC_OK && info.size == N && info.generation == 1);
    CHECK(karec_index_describe(index, &info) == KAREC_OK && info.size == N - 2 && info.generation == 2);

    const char* message = "index is pinned (karec_index_pin) and cannot be written";
    const karec_matrix m = matrix();
    const float offset = 1.0f;
    REFUSED(karec_index_upsert(view, ids, N, &m, NULL, 0, NULL, 0, 7), KAREC_INVALID_ARGUMENT, message);
    REFUSED(karec_index_remove(view, asked, 2, NULL), KAREC_INVALID_ARGUMENT, message);
    REFUSED(karec_index_block(view, asked, 2, NULL), KAREC_INVALID_ARGUMENT, message);
    REFUSED(karec_index_unblock(view, asked, 2, NULL), KAREC_INVALID_ARGUMENT, message);
    REFUSED(karec_index_adjust(view, asked, 1, NULL, &offset, NULL), KAREC_INVALID_ARGUMENT, message);
    karec_index* again = NULL;
    REFUSED(karec_index_pin(view, &again), KAREC_INVALID_ARGUMENT, "index is already pinned");
    CHECK(again == NULL);

    karec_index_close(index); /* the view keeps the index alive */
    CHECK(karec_index_lookup(view, asked, 2, at) == KAREC_OK && at[0] == 4);
    karec_index_close(view);
}

typedef karec_status (*select_mmr_or_ssd)(const karec_matrix*, const float*, size_t, const karec_mmr_ssd_options*,
                                          int64_t*, double*, size_t, size_t*);

static void mmr_ssd_with_facets(void) {
    const select_mmr_or_ssd both[2] = {karec_mmr_select, karec_ssd_select};
    const karec_matrix m = matrix();
    const float relevance[N] = {3, 3, 2, 2, 1, 1};
    const int64_t facets[2 * N] = {1, 1, 2, 2, 3, 3, 9, 9, 9, 9, 9, 9};
    const int64_t of_shown[2] = {1, 9};
    for (int i = 0; i < 2; ++i) {
        int64_t picks[3] = {-1, -1, -1};
        double values[3];
        size_t selected = 9;
        karec_mmr_ssd_options options = KAREC_MMR_SSD_OPTIONS_INIT;
        CHECK(both[i](&m, relevance, N, &options, picks, values, 3, &selected) == KAREC_OK && selected == 3);
        CHECK(picks[0] == 0 && picks[1] == 1);
        const double all = 1.0;
        options.diversity = 0.9;
        options.n_facets = 1;
        options.facets = facets;
        options.facet_weights = &all;
        CHECK(both[i](&m, relevance, N, &options, picks, values, 3, &selected) == KAREC_OK);
        CHECK(picks[0] == 0 && picks[1] == 2 && picks[2] == 4);
        karec_matrix seen = m;
        seen.rows = 1;
        options.shown = &seen;
        options.shown_facets = of_shown;
        CHECK(both[i](&m, relevance, N, &options, picks, values, 3, &selected) == KAREC_OK);
        CHECK(picks[0] == 2 && picks[1] == 4);

        /* A refused call leaves the output unchanged. */
        const double too_much[2] = {0.6, 0.6};
        const double below_0[2] = {0.5, -0.1};
        selected = 9;
        picks[0] = 77;
        options.n_facets = 2;
        options.facet_weights = too_much;
        REFUSED(both[i](&m, relevance, N, &options, picks, values, 3, &selected), KAREC_INVALID_ARGUMENT,
                "facet_weights sum to 1.2");
        options.facet_weights = below_0;
        REFUSED(both[i](&m, relevance, N, &options, picks, values, 3, &selected), KAREC_INVALID_ARGUMENT,
                "facet_weights holds -0.1");
        options.facet_weights = NULL;
        REFUSED(both[i](&m, relevance, N, &options, picks, values, 3, &selected), KAREC_INVALID_ARGUMENT,
                "options->facet_weights is NULL");
        options.facet_weights = &all;
        options.n_facets = 1;
        options.facets = NULL;
        REFUSED(both[i](&m, relevance, N, &options, picks, values, 3, &selected), KAREC_INVALID_ARGUMENT,
                "options->facets is NULL");
        options.facets = facets;
        options.n_facets = SIZE_MAX / 2;
        REFUSED(both[i](&m, relevance, N, &options, picks, values, 3, &selected), KAREC_INVALID_ARGUMENT,
                "than memory has");
        options.n_facets = 1;
        options.diversity = NAN;
        REFUSED(both[i](&m, relevance, N, &options, picks, values, 3, &selected), KAREC_INVALID_ARGUMENT,
                "diversity must lie in [0, 1]");
        options.diversity = 0.5;
        seen.cols = D - 1;
        REFUSED(both[i](&m, relevance, N, &options, picks, values, 3, &selected), KAREC_INVALID_ARGUMENT,
                "shown has shape (1, 3)");
        seen.data = NULL;
        REFUSED(both[i](&m, relevance, N, &options, picks, values, 3, &selected), KAREC_INVALID_ARGUMENT,
                "options->shown");
        options.struct_size = 8;
        REFUSED(both[i](&m, relevance, N, &options, picks, values, 3, &selected), KAREC_INVALID_ARGUMENT,
                "options->struct_size is 8");
        CHECK(selected == 9 && picks[0] == 77);
        CHECK(both[i](&m, relevance, N, NULL, picks, values, 3, &selected) == KAREC_OK && selected == 3);
    }
}

static void selections(void) {
    karec_index_close(build());
    const karec_matrix m = matrix();
    const float relevance[N] = {3, 3, 2, 2, 1, 1};
    int64_t picks[3];
    double gains[3];
    karec_dpp_options options = KAREC_DPP_OPTIONS_INIT;
    CHECK(options.alpha == karec_dpp_alpha(0.5));
    karec_dpp_count count = KAREC_DPP_COUNT_INIT;
    CHECK(karec_dpp_select(&m, relevance, N, &options, picks, gains, 3, &count) == KAREC_OK);
    CHECK(count.selected == 3 && picks[0] == 0 && picks[1] == 1 && picks[2] == 2);
    const int64_t facets[N] = {1, 1, 2, 2, 3, 3};
    const double facet_weight = 1.0;
    options.n_facets = 1;
    options.facets = facets;
    options.facet_weights = &facet_weight;
    CHECK(karec_dpp_select(&m, relevance, N, &options, picks, gains, 3, &count) == KAREC_OK);
    CHECK(picks[0] == 0 && picks[1] == 2 && picks[2] == 4);
    options.n_facets = SIZE_MAX / 2;
    CHECK(karec_dpp_select(&m, relevance, N, &options, picks, gains, 3, &count) == KAREC_INVALID_ARGUMENT);
    CHECK(karec_dpp_select(&m, relevance, N, NULL, picks, gains, 3, &count) == KAREC_OK && picks[1] == 1);
    options = (karec_dpp_options)KAREC_DPP_OPTIONS_INIT;
    size_t selected = 0;
    /* Without dimensions rows need no memory, so that any number is valid. No number takes long. */
    const karec_matrix flat = {sizeof flat, vectors, N, 0, KAREC_FLOAT32};
    const karec_matrix endless = {sizeof endless, vectors, SIZE_MAX, 0, KAREC_FLOAT32};
    karec_mmr_ssd_options after_endless = KAREC_MMR_SSD_OPTIONS_INIT;
    after_endless.shown = &endless;
    CHECK(karec_mmr_select(&flat, relevance, N, &after_endless, picks, gains, 3, &selected) == KAREC_OK);
    CHECK(karec_ssd_select(&flat, relevance, N, &after_endless, picks, gains, 3, &selected) == KAREC_OK);
    options.shown = &endless;
    CHECK(karec_dpp_select(&flat, relevance, N, &options, picks, gains, 3, &count) == KAREC_OK);
    CHECK(picks[0] == 0 && picks[1] == 1 && picks[2] == 2);
    options.shown = NULL;
    const double kernel[2][2] = {{2, 0}, {0, 1}};
    CHECK(karec_dpp_select_kernel(kernel[0], 2, 0, picks, gains, 2, &count) == KAREC_OK);
    CHECK(picks[0] == 0 && picks[1] == 1);
    mmr_ssd_with_facets();
    options.struct_size = 8;
    REFUSED(karec_dpp_select(&m, relevance, N, &options, picks, gains, 3, &count), KAREC_INVALID_ARGUMENT,
            "options->struct_size is 8");
}

static void bad_arguments(void) {
    karec_index* index = build();
    karec_index* none = NULL;
    const karec_matrix good = matrix();
    karec_search_count count = {.struct_size = sizeof count, .found = 77};
    const float user[D] = {1, 1, 1, 1};
    karec_query query = {.struct_size = sizeof query, .values = user, .dim = D};
    const karec_candidates among = {.struct_size = sizeof among, .ids = ids, .n = N};
    REFUSED(karec_index_search(NULL, &query, &among, &ranked, &count), KAREC_INVALID_ARGUMENT, "index is NULL");
    REFUSED(karec_index_search(index, NULL, &among, &ranked, &count), KAREC_INVALID_ARGUMENT, "query is NULL");
    query.dim = D - 1;
    REFUSED(karec_index_search(index, &query, &among, &ranked, &count), KAREC_INVALID_ARGUMENT,
            "query has 3 values, expected 4");
    query.dim = SIZE_MAX;
    REFUSED(karec_index_search(index, &query, &among, &ranked, &count), KAREC_INVALID_ARGUMENT, "than memory has");
    query.dim = D;
    query.values = NULL;
    REFUSED(karec_index_search(index, &query, &among, &ranked, &count), KAREC_INVALID_ARGUMENT,
            "query->values is NULL");
    CHECK(count.found == 77);

    karec_matrix wrong = good;
    wrong.dtype = KAREC_INT8;
    REFUSED(karec_index_build(ids, N, &wrong, NULL, &none), KAREC_INVALID_ARGUMENT, "float16 or float32");
    wrong.dtype = 99;
    REFUSED(karec_index_build(ids, N, &wrong, NULL, &none), KAREC_INVALID_ARGUMENT, "is not a dtype");
    wrong = good;
    wrong.data = (const char*)good.data + 1;
    REFUSED(karec_index_build(ids, N, &wrong, NULL, &none), KAREC_INVALID_ARGUMENT, "embeddings is not aligned");
    wrong = good;
    wrong.rows = N - 1;
    REFUSED(karec_index_build(ids, N, &wrong, NULL, &none), KAREC_INVALID_ARGUMENT, "embeddings has shape (5, 4)");
    CHECK(none == NULL);
    REFUSED(karec_index_open("/nowhere/index", NULL, &none), KAREC_IO_ERROR, "cannot read");
    CHECK(karec_last_system_error() != 0);

    /* A newer caller: its unknown members must be 0. */
    struct {
        karec_query query;
        uint64_t later;
    } longer = {{sizeof longer, user, D, NULL, 0, NULL, 0}, 0};
    CHECK(karec_index_search(index, &longer.query, &among, &ranked, &count) == KAREC_OK);
    longer.later = 1;
    REFUSED(karec_index_search(index, &longer.query, &among, &ranked, &count), KAREC_INVALID_ARGUMENT,
            "members that this library");

    karec_index_info before = KAREC_INDEX_INFO_INIT;
    karec_index_info after = KAREC_INDEX_INFO_INIT;
    CHECK(karec_index_describe(index, &before) == KAREC_OK);
    wrong = good;
    wrong.cols = D - 1;
    REFUSED(karec_index_upsert(index, ids, N, &wrong, NULL, 0, NULL, 0, 8), KAREC_INVALID_ARGUMENT, "expected");
    CHECK(karec_index_describe(index, &after) == KAREC_OK && memcmp(&before, &after, sizeof before) == 0);
    karec_open_options open = KAREC_OPEN_OPTIONS_INIT;
    REFUSED(karec_index_open("/nowhere/index", &open, &none), KAREC_IO_ERROR, "cannot read");
    REFUSED(karec_index_open("/dev/null", NULL, &none), KAREC_IO_ERROR, "not a regular file");
    REFUSED(karec_index_save(index, "/dev/null"), KAREC_IO_ERROR, "not a regular file, so it is not replaced");
    open.struct_size = 8;
    REFUSED(karec_index_open("/nowhere/index", &open, &none), KAREC_INVALID_ARGUMENT, "struct_size is 8");
    karec_stages* stages = NULL;
    REFUSED(karec_stages_open("/nowhere", "/nowhere/settings", NULL, &stages), KAREC_IO_ERROR, "/nowhere/settings");
    REFUSED(karec_stages_run(NULL, NULL, NULL), KAREC_INVALID_ARGUMENT, "stages is NULL");
    karec_index_close(index);
    karec_index_close(NULL);
    karec_stages_close(NULL);
}

static void filters(void) {
    karec_index* index = build();
    const int64_t values[] = {1, 3};
    const double number = 1.0;
    karec_filter_term terms[2] = {KAREC_FILTER_TERM_INIT, KAREC_FILTER_TERM_INIT};
    terms[0].op = KAREC_FILTER_IN;
    terms[0].column = "creator_id";
    terms[0].integers = values;
    terms[0].n_values = 2;
    terms[1].op = KAREC_FILTER_NOT;
    terms[1].n_parts = 1;
    karec_filter* filter = NULL;
    uint8_t mask[N];
    CHECK(karec_filter_create(terms, 1, &filter) == KAREC_OK && filter != NULL);
    CHECK(karec_filter_mask(filter, index, mask, N) == KAREC_OK && memcmp(mask, "\1\1\0\0\1\1", N) == 0);
    CHECK(karec_index_block(index, ids, 1, NULL) == KAREC_OK);
    CHECK(karec_filter_update(filter, index, 1, mask, N) == KAREC_OK && memcmp(mask, "\0\1\0\0\1\1", N) == 0);
    REFUSED(karec_filter_update(filter, index, 3, mask, N), KAREC_INVALID_ARGUMENT, "mask is of generation 3");
    REFUSED(karec_filter_mask(filter, index, mask, N - 1), KAREC_INVALID_ARGUMENT, "mask has 5 entries");
    REFUSED(karec_filter_mask(NULL, index, mask, N), KAREC_INVALID_ARGUMENT, "filter is NULL");
    REFUSED(karec_filter_mask(filter, NULL, mask, N), KAREC_INVALID_ARGUMENT, "index is NULL");
    karec_filter_close(filter);
    CHECK(karec_filter_create(terms, 2, &filter) == KAREC_OK);
    CHECK(karec_filter_mask(filter, index, mask, N) == KAREC_OK && memcmp(mask, "\0\0\1\1\0\0", N) == 0);
    karec_filter_close(filter);
    karec_filter_close(NULL);

    karec_filter* none = NULL;
    terms[0].numbers = &number;
    REFUSED(karec_filter_create(terms, 2, &none), KAREC_INVALID_ARGUMENT, "integers and numbers");
    terms[0].integers = NULL;
    terms[0].numbers = NULL;
    REFUSED(karec_filter_create(terms, 2, &none), KAREC_INVALID_ARGUMENT, "terms->integers is NULL");
    terms[1].op = 9;
    REFUSED(karec_filter_create(terms + 1, 1, &none), KAREC_INVALID_ARGUMENT, "op is 9");
    REFUSED(karec_filter_create(terms, SIZE_MAX, &none), KAREC_INVALID_ARGUMENT, "terms has more structs");
    CHECK(none == NULL);
    karec_index_close(index);
}

/* Lengths that no memory holds: each is refused before anything is read. */
static void endless_arguments(void) {
    karec_index* index = build();
    const karec_matrix m = matrix();
    const float user[D] = {1, 1, 1, 1};
    const size_t none = SIZE_MAX;
    const karec_query query = {.struct_size = sizeof query, .values = user, .dim = D};
    const karec_candidates among = {sizeof among, ids, NULL, N};
    karec_search_count count = KAREC_SEARCH_COUNT_INIT;
    const karec_column column = {sizeof column, "creator_id", creators, N, KAREC_INT64};
    REFUSED(karec_index_upsert(index, ids, N, &m, &column, none, NULL, 0, 7), KAREC_INVALID_ARGUMENT,
            "columns has more structs");
    REFUSED(karec_index_search_all(index, &query, none, NULL, 0, &ranked, &count), KAREC_INVALID_ARGUMENT,
            "queries has more structs");
    REFUSED(karec_index_search_all(index, &query, 1, (const uint8_t*)ids, none, &ranked, &count),
            KAREC_INVALID_ARGUMENT, "mask has more entries");
    karec_index_close(index);
}

/* An index that was opened as a copy ignores changes of its file. */
static void copies(void) {
    const char* path = "c-api-copied.karec";
    karec_index* index = build();
    karec_index* copied = NULL;
    karec_open_options open = KAREC_OPEN_OPTIONS_INIT;
    open.copy = 1;
    CHECK(karec_index_save(index, path) == KAREC_OK && karec_index_open(path, &open, &copied) == KAREC_OK);
    FILE* file = fopen(path, "wb"); /* empties it */
    fclose(file);
    int32_t held[N];
    float row[D];
    CHECK(karec_index_lookup(copied, ids, N, held) == KAREC_OK && held[5] == 5);
    CHECK(karec_index_gather(copied, held + 5, 1, row, D) == KAREC_OK && row[1] == 6.0f);
    karec_index_close(copied);
    karec_index_close(index);
    remove(path);
}

static unsigned char* slurp(const char* path, size_t* size) {
    FILE* file = fopen(path, "rb");
    if (file == NULL) return NULL;
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    unsigned char* bytes = malloc(*size);
    if (fread(bytes, 1, *size, file) != *size) *size = 0;
    fclose(file);
    return bytes;
}

static void opens_as(const unsigned char* bytes, size_t size, karec_status code, const char* part) {
    const char* path = "c-api-altered.karec";
    FILE* file = fopen(path, "wb");
    fwrite(bytes, 1, size, file);
    fclose(file);
    karec_index* index = NULL;
    REFUSED(karec_index_open(path, NULL, &index), code, part);
    CHECK(index == NULL);
    remove(path);
}

/* The contents of these files by tests/index/test_golden_files.py. */
static void golden_files(const char* folder) {
    static const char* const names[] = {"float16", "float32", "int8"};
    for (int f = 0; f < 3; ++f) {
        char path[512];
        snprintf(path, sizeof path, "%s/v1-%s.karec", folder, names[f]);
        karec_index* index = NULL;
        CHECK(karec_index_open(path, NULL, &index) == KAREC_OK);
        karec_index_info info = KAREC_INDEX_INFO_INIT;
        CHECK(karec_index_describe(index, &info) == KAREC_OK && info.size == 7 && info.dim == 3);
        const float values[2][3] = {{1, 0, 0}, {0, 1, 0}};
        const int64_t versions[2] = {3, 4};
        const karec_query query = {sizeof query, values[0], 3, versions, 2, NULL, 0};
        const int64_t asked[7] = {5, -7, INT64_C(1) << 61, 11, 12, 0, 99};
        const karec_candidates among = {.struct_size = sizeof among, .ids = asked, .n = 7};
        float got[7];
        karec_search_count count = KAREC_SEARCH_COUNT_INIT;
        CHECK(karec_index_scores(index, &query, &among, got, &count) == KAREC_OK);
        CHECK(count.blocked == 1 && count.found == 6);
        CHECK(fabsf(got[6] - 137.0f) < 0.01f && fabsf(got[3] - 127.0f) < 0.01f && isinf(got[2]));
        karec_index_close(index);

        size_t size = 0;
        unsigned char* bytes = slurp(path, &size);
        CHECK(bytes != NULL && size > 256);
        if (bytes == NULL) continue;
        opens_as(bytes, size - 1, KAREC_BAD_FORMAT, "karec index file");
        CHECK(memcmp(bytes + 12, "\x04\x03\x02\x01", 4) == 0);
        memcpy(bytes + 12, "\x01\x02\x03\x04", 4);
        opens_as(bytes, size, KAREC_BAD_FORMAT, "its byte order is foreign");
        memcpy(bytes + 12, "\x04\x03\x02\x01", 4);
        bytes[8] = 2;
        opens_as(bytes, size, KAREC_BAD_FORMAT, "has version 2");
        free(bytes);
    }
}

int main(int argc, char** argv) {
    CHECK(karec_abi_version() >= KAREC_ABI_VERSION);
    CHECK(strlen(karec_version()) > 0 && strlen(karec_isa()) > 0 && karec_last_error()[0] == 0);
    index_answers();
    scores_add_tables();
    a_pinned_index_holds_its_generation();
    selections();
    filters();
    bad_arguments();
    endless_arguments();
    copies();
    golden_files(argc > 1 ? argv[1] : ".");
    printf("%s\n", failures == 0 ? "ok" : "FAIL");
    return failures == 0 ? 0 : 1;
}
