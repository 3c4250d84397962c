/* A C host: recommends works to a user by raw ids, from a bundle that `karec demo` wrote.
 *
 *   host_c BUNDLES SETTINGS ONNXRUNTIME USER_ID CANDIDATE_ID…
 *
 * ONNXRUNTIME: site-packages/onnxruntime/capi/libonnxruntime.so.1.x of Python's wheel, for example.
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
    if (argc < 6) return fprintf(stderr, "usage: host_c BUNDLES SETTINGS ONNXRUNTIME USER_ID CANDIDATE_ID...\n"), 2;
    karec_preranker_options options = KAREC_PRERANKER_OPTIONS_INIT;
    options.onnxruntime = argv[3];
    karec_preranker* ranker = NULL;
    if (karec_preranker_open(argv[1], argv[2], &options, &ranker) != KAREC_OK) return fail();

    /* His lists and counters are the snapshot's. A host that knows what he did since sets user.history and so on. */
    karec_user user = KAREC_USER_INIT;
    user.user_id = atoll(argv[4]);

    const size_t n = (size_t)argc - 5;
    int64_t* candidates = calloc(n, sizeof *candidates);
    for (size_t i = 0; i < n; ++i) candidates[i] = atoll(argv[5 + i]);
    karec_prerank_request request = KAREC_PRERANK_REQUEST_INIT;
    request.candidates = candidates;
    request.n_candidates = n;
    request.user = &user;
    request.time_ms = (int64_t)time(NULL) * 1000;
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
    karec_preranker_close(ranker);
    return 0;
}
