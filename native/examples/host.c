/* Recommends a page to a user, from a bundle and exported stages of `karec demo`.
 *
 *   host_c BUNDLES STAGES ONNXRUNTIME USER_ID CANDIDATE_ID…
 *
 * ONNXRUNTIME: for example site-packages/onnxruntime/capi/libonnxruntime.so.1.x of the Python wheel.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "karec/karec.h"

static int fail(void) {
    fprintf(stderr, "host_c: %s\n", karec_last_error());
    return 1;
}

static int print_usage(void) {
    fprintf(stderr, "usage: host_c BUNDLES STAGES ONNXRUNTIME USER_ID CANDIDATE_ID...\n");
    return 2;
}

/* Returns 0 if `text` is not a decimal int64. */
static int read_id(const char* text, int64_t* id) {
    char* end = NULL;
    errno = 0;
    *id = strtoll(text, &end, 10);
    return end != text && *end == '\0' && errno == 0;
}

int main(int argc, char** argv) {
    if (argc < 6) return print_usage();
    /* Lists and counters come from the snapshot. A host with newer ones sets user.history and so on. */
    karec_user user = KAREC_USER_INIT;
    if (!read_id(argv[4], &user.user_id)) return print_usage();
    const size_t n = (size_t)argc - 5;
    int64_t* candidates = calloc(n, sizeof *candidates);
    for (size_t i = 0; i < n; ++i)
        if (!read_id(argv[5 + i], &candidates[i])) return print_usage();

    karec_stages_options options = KAREC_STAGES_OPTIONS_INIT;
    options.onnxruntime = argv[3];
    karec_stages* stages = NULL;
    if (karec_stages_open(argv[1], argv[2], &options, &stages) != KAREC_OK) return fail();

    karec_request request = KAREC_REQUEST_INIT;
    request.candidates = candidates;
    request.n_candidates = n;
    request.user = &user;
    request.time_ms = (int64_t)time(NULL) * 1000;

    karec_page page = KAREC_PAGE_INIT;
    page.ids = calloc(n, sizeof *page.ids);
    page.scores = calloc(n, sizeof *page.scores);
    page.rows = calloc(n, sizeof *page.rows);
    page.capacity = n;
    if (karec_stages_run(stages, &request, &page) != KAREC_OK) return fail();
    printf("karec %s, model version %lld: %zu of %zu items, %zu unknown\n", karec_version(),
           (long long)page.model_version, page.n_items, n, page.n_unknown);
    for (size_t i = 0; i < page.n_items && i < 10; ++i)
        printf("%12lld  %.6f\n", (long long)page.ids[i], page.scores[i]);

    free(page.ids);
    free(page.scores);
    free(page.rows);
    free(candidates);
    karec_stages_close(stages);
    return 0;
}
