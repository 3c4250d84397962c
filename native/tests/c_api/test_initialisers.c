/* Every initialiser of karec.h as a C99 compiler takes it, with every warning an error: each sets its struct's size,
 * and nothing that a call would refuse as unknown. */
#include <stdio.h>

#include "karec/karec.h"

static int failures = 0;

static void check(size_t said, size_t size, const char* name) {
    if (said == size) return;
    ++failures;
    fprintf(stderr, "%s: struct_size is %zu, the struct has %zu bytes\n", name, said, size);
}

#define CHECK(type, initialiser)                     \
    do {                                             \
        const type made = initialiser;               \
        check(made.struct_size, sizeof made, #type); \
    } while (0)

int main(void) {
    CHECK(karec_matrix, KAREC_MATRIX_INIT);
    CHECK(karec_column, KAREC_COLUMN_INIT);
    CHECK(karec_build_options, KAREC_BUILD_OPTIONS_INIT);
    CHECK(karec_open_options, KAREC_OPEN_OPTIONS_INIT);
    CHECK(karec_index_info, KAREC_INDEX_INFO_INIT);
    CHECK(karec_code_table, KAREC_CODE_TABLE_INIT);
    CHECK(karec_query, KAREC_QUERY_INIT);
    CHECK(karec_candidates, KAREC_CANDIDATES_INIT);
    CHECK(karec_ranked, KAREC_RANKED_INIT);
    CHECK(karec_search_count, KAREC_SEARCH_COUNT_INIT);
    CHECK(karec_dpp_options, KAREC_DPP_OPTIONS_INIT);
    CHECK(karec_mmr_ssd_options, KAREC_MMR_SSD_OPTIONS_INIT);
    CHECK(karec_dpp_count, KAREC_DPP_COUNT_INIT);
    CHECK(karec_stages_options, KAREC_STAGES_OPTIONS_INIT);
    CHECK(karec_user, KAREC_USER_INIT);
    CHECK(karec_request, KAREC_REQUEST_INIT);
    CHECK(karec_page, KAREC_PAGE_INIT);
    return failures == 0 ? 0 : 1;
}
