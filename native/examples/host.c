/* A C host: recommends works like one that somebody liked, from a bundle that `karec demo` wrote.
 *
 *   host_c BUNDLES SETTINGS LIKED_ID CANDIDATE_ID…
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "karec/karec.h"

static int fail(void) {
    fprintf(stderr, "host_c: %s\n", karec_last_error());
    return 1;
}

int main(int argc, char** argv) {
    if (argc < 5) return fprintf(stderr, "usage: host_c BUNDLES SETTINGS LIKED_ID CANDIDATE_ID...\n"), 2;
    karec_preranker* ranker = NULL;
    karec_index* index = NULL;
    if (karec_preranker_open(argv[1], argv[2], NULL, &ranker) != KAREC_OK) return fail();
    if (karec_preranker_index(ranker, &index) != KAREC_OK) return fail();

    karec_index_info info = KAREC_INDEX_INFO_INIT;
    if (karec_index_describe(index, &info) != KAREC_OK) return fail();
    const int64_t liked = atoll(argv[3]);
    int32_t liked_row = -1;
    float* user = calloc(info.dim, sizeof *user);
    if (karec_index_lookup(index, &liked, 1, &liked_row) != KAREC_OK) return fail();
    if (karec_index_gather(index, &liked_row, 1, user, info.dim, 0) != KAREC_OK) return fail();

    const size_t n = (size_t)argc - 4;
    int64_t* candidates = calloc(n, sizeof *candidates);
    for (size_t i = 0; i < n; ++i) candidates[i] = atoll(argv[4 + i]);
    karec_prerank_request request = KAREC_PRERANK_REQUEST_INIT;
    request.candidates = candidates;
    request.n_candidates = n;
    request.user_vector = user;
    request.dim = info.dim;
    request.time_ms = (int64_t)time(NULL) * 1000;
    request.shown = &liked;
    request.n_shown = 1;
    size_t most = 0;
    if (karec_preranker_most(ranker, &request, &most) != KAREC_OK) return fail();
    karec_preranked out = KAREC_PRERANKED_INIT;
    out.scores = calloc(most + 1, sizeof *out.scores);
    out.ids = calloc(most + 1, sizeof *out.ids);
    out.rows = calloc(most + 1, sizeof *out.rows);
    out.n = most;
    karec_prerank_count count = KAREC_PRERANK_COUNT_INIT;
    if (karec_preranker_run(ranker, &request, &out, &count) != KAREC_OK) return fail();
    printf("karec %s, model version %lld: %zu of %zu works, %zu unknown\n", karec_version(),
           (long long)count.model_version, count.found, n, count.unknown);
    for (size_t i = 0; i < count.found && i < 10; ++i) printf("%12lld  %.6f\n", (long long)out.ids[i], out.scores[i]);

    free(out.scores);
    free(out.ids);
    free(out.rows);
    free(candidates);
    free(user);
    karec_index_close(index);
    karec_preranker_close(ranker);
    return 0;
}
