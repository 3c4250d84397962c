// Stages against its steps called one by one, and the requests and bundles that it refuses.
#include "karec/stages.hpp"

#include <algorithm>
#include <limits>
#include <vector>

#include "check.hpp"
#include "karec/dpp.hpp"
#include "karec/freshness.hpp"
#include "stage_requests.hpp"
#include "stages/stage_settings.hpp"

using namespace karec;

TEST(steps_equal_their_functions) {
    BundleFolder folder;
    folder.publish(1);
    const auto stages = open_stages(folder);
    CHECK(stages.ok());
    const auto ids = all_ids();
    const std::vector<std::int64_t> shown = {0, 6, 12, 17};
    Request request = request_of(ids);
    request.shown = shown;
    Page page;
    CHECK(stages->run(request, page).ok());
    CHECK(page.ids.size() == 20 && page.n_unknown == 600 && page.n_blocked == 0 && page.n_broken_rules == 0);
    CHECK(page.model_version == 1 && page.generation == stages->index().pinned().generation());

    const ItemIndex index = stages->index();
    std::vector<float> scores(200);
    std::vector<std::int64_t> best(200);
    std::vector<std::int32_t> rows(200);
    std::vector<std::int64_t> positions(200);
    const auto found = index.pinned().search(kUser, Candidates::of_ids(ids), {scores, best, rows, positions});
    CHECK(found->found == 200);
    const auto drop = [&](auto&& keep) {
        std::size_t to = 0;
        for (std::size_t i = 0; i < best.size(); ++i) {
            if (!keep(i)) continue;
            best[to] = best[i], rows[to] = rows[i], scores[to++] = scores[i];
        }
        best.resize(to), rows.resize(to), scores.resize(to);
    };
    drop([&](std::size_t i) { return std::ranges::find(shown, best[i]) == shown.end(); });
    std::vector<std::byte> column(rows.size() * 8);
    CHECK(index.pinned().gather_column("upload_ms", rows, column).ok());
    const std::vector<float> before = scores;
    CHECK(freshness(before, {"", DType::int64, column}, kBundleNow, 0.05, 24.0, scores).ok());
    column.resize(rows.size() * 4);
    CHECK(index.pinned().gather_column("tone", rows, column).ok());
    std::vector<std::uint8_t> keep(rows.size());
    CHECK(tone({"", DType::float32, column}, 0.1, keep).ok());
    drop([&](std::size_t i) { return keep[i] != 0; });
    column.resize(rows.size() * 8);
    keep.resize(rows.size());
    CHECK(index.pinned().gather_column("creator_id", rows, column).ok());
    CHECK(quota(scores, {"", DType::int64, column}, 3, keep).ok());
    drop([&](std::size_t i) { return keep[i] != 0; });
    const std::size_t n = rows.size();
    std::vector<float> vectors(n * kBundleDim);
    CHECK(index.pinned().gather(rows, vectors).ok());
    std::vector<std::int32_t> shown_rows(shown.size());
    CHECK(index.pinned().lookup(shown, shown_rows).ok());
    std::erase(shown_rows, kUnknownRow);
    std::vector<float> seen(shown_rows.size() * kBundleDim);
    CHECK(index.pinned().gather(shown_rows, seen).ok());
    std::vector<float> relevance(n);
    CHECK(standardise(scores, relevance).ok());
    std::vector<std::int64_t> types(n);
    std::vector<float> weights(n);
    for (std::size_t i = 0; i < n; ++i) {
        types[i] = best[i] / 3 % 2;
        weights[i] = types[i] == 1 ? 1.2f : 1.0f;
    }
    DppOptions options;
    options.alpha = dpp_alpha(0.3);
    options.type_weight = 0.05;
    options.types = types;
    options.weights = weights;
    options.shown = {seen.data(), shown_rows.size(), kBundleDim, DType::float32};
    std::vector<std::int64_t> picks(20);
    std::vector<double> gains(20);
    CHECK(dpp_select({vectors.data(), n, kBundleDim, DType::float32}, relevance, options, picks, gains).ok());
    for (std::size_t i = 0; i < 20; ++i) {
        const auto at = static_cast<std::size_t>(picks[i]);
        CHECK(page.ids[i] == best[at] && page.scores[i] == scores[at] && page.rows[i] == rows[at]);
    }
}

TEST(fused_steps_equal_single_steps) {
    BundleFolder folder;
    folder.publish(1);
    const auto ids = all_ids();
    const auto fused = open_stages(folder, kIndexRows + kHasEmbedding + inner_product_step(50));
    // After another step, the three steps do not run as one search.
    const auto single = open_stages(
        folder, R"({"use": "not_shown", "name": "not_shown"}, )" + kIndexRows + kHasEmbedding + inner_product_step(50));
    CHECK(fused.ok() && single.ok());
    Page a;
    Page b;
    CHECK(fused->run(request_of(ids), a).ok() && single->run(request_of(ids), b).ok());
    CHECK(a.ids.size() == 50 && a.ids == b.ids && a.scores == b.scores && a.rows == b.rows);
    CHECK(a.n_unknown == b.n_unknown && a.n_blocked == b.n_blocked);
}

TEST(run_scores_each_row_by_the_user_vector_of_its_version) {
    BundleFolder folder;
    folder.publish(1);
    const auto stages =
        open_stages(folder, kIndexRows + kHasEmbedding + inner_product_step(300) + ", " + dpp_step(40, 0.5, 0.0));
    CHECK(stages.ok());
    ItemIndex index = stages->index();
    const std::vector<std::int64_t> newer = {0, 3, 6, 9};
    const std::vector<float> vectors(newer.size() * kBundleDim, 1.0f);
    CHECK(index.upsert(newer, {vectors.data(), newer.size(), kBundleDim, DType::float32}, {}, 2).ok());
    const std::vector<std::int64_t> ids = {0, 6, 300, 303, 1};
    Page page;
    CHECK(has_message(stages->run(request_of(ids), page), Code::invalid_argument, "vectors of model versions 1, 2"));

    const std::vector<float> other(kBundleDim, 2.0f);
    const VersionQuery users[] = {{1, kUser}, {2, other}, {7, kUser}};
    Request request = request_of(ids);
    request.user_vector.emplace(std::span<const VersionQuery>(users));
    CHECK(stages->run(request, page).ok());
    CHECK(page.ids.size() == 4 && page.n_unknown == 1 && page.generation == 2);
    for (std::size_t i = 0; i < page.ids.size(); ++i) {
        const bool is_newer = page.ids[i] <= 6;
        std::vector<float> score(1);
        const Query own(std::span<const VersionQuery>(users).subspan(is_newer ? 1 : 0, 1));
        CHECK(index.pinned().scores(own, Candidates::of_ids(std::span(page.ids).subspan(i, 1)), score).ok());
        CHECK(score[0] == page.scores[i] && (!is_newer || score[0] == 16.0f));
    }

    request.user_vector.emplace(std::span(users).first(1));  // none for version 2: its rows are dropped and counted
    CHECK(stages->run(request, page).ok() && page.ids.size() == 2 && page.n_unknown == 3);
    const VersionQuery three[] = {{2, std::span(other).first(3)}};
    request.user_vector.emplace(std::span<const VersionQuery>(three));
    CHECK(has_message(stages->run(request, page), Code::invalid_argument,
                      "user_vector of model version 2 has 3 values, expected 8"));
}

TEST(scores_of_the_request_rank_if_no_step_scores) {
    BundleFolder folder;
    folder.publish(1);
    const auto stages = open_stages(folder, kIndexRows + kHasEmbedding + quota_step("creator_id", 1));
    const std::vector<std::int64_t> ids = {0, 150, 300};  // one creator
    const std::vector<float> scores = {1.0f, 3.0f, 2.0f};
    Request request = request_of(ids);
    request.scores = scores;
    Page page;
    CHECK(stages->run(request, page).ok() && page.ids.size() == 1 && page.ids[0] == 150 && page.scores[0] == 3.0f);
}

TEST(dpp_distinguishes_items_without_a_row_from_type_minus_1) {
    BundleFolder folder;
    folder.publish(1);
    std::string step = dpp_step(4, 0.5, 0.0);
    step.replace(step.find("\"max_per_type\": null"), 20, "\"max_per_type\": 1");
    const auto stages = open_stages(folder, step);
    ItemIndex index = stages->index();
    const std::vector<std::int64_t> ids = {0, 3, 1};  // 1 is not in the index
    const std::vector<std::int64_t> zeros(2, 0);
    const std::vector<std::int32_t> types(2, -1);
    const std::vector<float> tones(2, 0.0f);
    const std::vector<float> vectors(2 * kBundleDim, 1.0f);
    const Column columns[] = {{"creator_id", DType::int64, std::as_bytes(std::span(zeros))},
                              {"upload_ms", DType::int64, std::as_bytes(std::span(zeros))},
                              {"type", DType::int32, std::as_bytes(std::span(types))},
                              {"tone", DType::float32, std::as_bytes(std::span(tones))}};
    CHECK(index.upsert(std::span(ids).first(2), {vectors.data(), 2, kBundleDim, DType::float32}, columns, 1).ok());
    Page page;
    CHECK(stages->run(request_of(ids), page).ok() && (page.ids == std::vector<std::int64_t>{0, 1}));
}

TEST(top_k_takes_the_best_scores_and_the_first_of_equal_ones) {
    BundleFolder folder;
    folder.publish(1);
    const auto stages = open_stages(folder, R"({"use": "top_k", "name": "top_k", "k": null})");
    const std::vector<std::int64_t> ids = {3, 1, 6, 9};  // 1 is not in the index
    const std::vector<float> scores = {1.0f, 2.0f, 1.0f, -0.5f};
    Request request = request_of(ids);
    request.scores = scores;
    request.k = 2;
    Page page;
    CHECK(stages->run(request, page).ok());
    CHECK((page.ids == std::vector<std::int64_t>{1, 3}) && page.rows[0] == kUnknownRow && page.rows[1] >= 0);
    request.k = std::numeric_limits<std::size_t>::max();
    CHECK(stages->run(request, page).ok() && (page.ids == std::vector<std::int64_t>{1, 3, 6, 9}));
}

TEST(page_rules_arrange_the_first_k_candidates) {
    BundleFolder folder;
    folder.publish(1);
    const auto stages = open_stages(folder, page_rules_step("creator_id", 2));
    const std::vector<std::int64_t> ids = {0, 150, 300, 3};  // creators 0, 0, 0, 1
    Request request = request_of(ids);
    request.k = 3;
    Page page;
    CHECK(stages->run(request, page).ok());
    CHECK((page.ids == std::vector<std::int64_t>{0, 3, 150}) && page.n_broken_rules == 0);
    request.candidates = std::span(ids).first(3);
    CHECK(stages->run(request, page).ok() && page.ids.size() == 3 && page.n_broken_rules == 2);
    const std::vector<std::int64_t> shown = {450};  // creator 0
    request.candidates = ids;
    request.shown = shown;
    CHECK(stages->run(request, page).ok());
    CHECK((page.ids == std::vector<std::int64_t>{0, 3, 150}) && page.n_broken_rules == 1);
}

TEST(request_without_candidates_returns_an_empty_page) {
    BundleFolder folder;
    folder.publish(1);
    const auto stages = open_stages(folder);
    Page page;
    page.ids = {7};
    CHECK(stages->run(request_of({}), page).ok() && page.ids.empty() && page.scores.empty() && page.rows.empty());
}

TEST(run_refuses_invalid_requests) {
    BundleFolder folder;
    folder.publish(1);
    const auto stages = open_stages(folder);
    const auto ids = all_ids();
    Page page;
    page.ids = {7};
    const auto is_refused = [&](const Request& request, Code code, const std::string& part) {
        return has_message(stages->run(request, page), code, part) && page.ids.size() == 1;
    };
    Request request = request_of(ids);
    const std::vector<float> three(3, 1.0f);
    request.user_vector = three;
    CHECK(is_refused(request, Code::invalid_argument, "user_vector has 3 values, expected 8"));
    const std::vector<float> nan(8, std::numeric_limits<float>::quiet_NaN());
    request.user_vector = nan;
    CHECK(is_refused(request, Code::invalid_argument, "user_vector holds NaN"));
    request.user_vector.reset();
    const UserState user;
    request.user = &user;
    CHECK(is_refused(request, Code::unavailable, "inner_product needs a user_vector"));
    request = request_of(ids);
    request.scores = three;
    CHECK(is_refused(request, Code::invalid_argument, "scores has 3 entries, candidates has 900"));
    request = request_of(ids);
    request.k = 0;
    CHECK(is_refused(request, Code::invalid_argument, "k is 0, expected at least 1"));
}

TEST(inner_product_refuses_scores_beyond_float32) {
    BundleFolder folder;
    folder.publish(1);
    const std::vector<float> large(kBundleDim, 3e38f);
    const std::vector<std::int64_t> ids = {0, 3, 6};
    Request request = request_of(ids);
    request.user_vector = large;
    Page page;
    page.ids = {7};
    for (const std::string& before : {kIndexRows, kIndexRows + kHasEmbedding, std::string()}) {
        const auto stages = open_stages(folder, before + inner_product_step(5));
        CHECK(has_message(stages->run(request, page), Code::invalid_argument,
                          "step inner_product: scores holds infinity at position 0"));
        CHECK(page.ids.size() == 1);
    }
}

TEST(freshness_refuses_scores_beyond_float32) {
    BundleFolder folder;
    folder.publish(1);
    const std::vector<std::int64_t> ids = {0, 3};
    Page page;
    for (const char* weight : {"1e39", "-1e39"}) {
        const auto stages = open_stages(
            folder, std::string(R"({"use": "freshness", "name": "new first", "half_life_hours": 24, "weight": )") +
                        weight + "}");
        CHECK(has_message(stages->run(request_of(ids), page), Code::invalid_argument,
                          "step new first: scores holds infinity at position 0"));
    }
}

TEST(ranker_requires_onnx_runtime) {
    BundleFolder folder;
    folder.publish(1);
    const std::string ranker = R"({"use": "ranker", "name": "ranker"})";
    CHECK(has_message(open_stages(folder, ranker).status(), Code::unavailable, "the step ranker needs ONNX Runtime"));
    StagesOptions options;
    options.onnxruntime = "/nowhere.so";
    CHECK(has_message(open_stages(folder, ranker, options).status(), Code::unavailable, "has no encoder.npz"));
    const std::string fusion =
        R"({"use": "fusion", "name": "sum", "kind": "sum", "weights": [{"task": "click", "weight": 1}]})";
    CHECK(has_message(open_stages(folder, fusion).status(), Code::invalid_argument,
                      "step sum: it needs logits: put the step ranker before it"));
}

TEST(settings_have_the_scene_and_the_steps_of_the_file) {
    const BundleFolder folder;
    const auto settings = StageSettings::read(folder.settings()).value();
    CHECK(settings.scene == "home" && settings.steps.size() == 8 && settings.steps[0].stage == "prerank");
    const auto& dpp = std::get<DppStep>(settings.steps.back().settings);
    CHECK(settings.steps.back().name == "scattered" && dpp.k == 20 && dpp.diversity == 0.3 && !dpp.window);
    CHECK(dpp.weights.size() == 1 && dpp.weights[0].column == "type" && dpp.weights[0].factor == 1.2);
}

TEST(settings_refuse_altered_stages_by_step_and_key) {
    const BundleFolder folder;
    const auto read = [&](const std::string& text) {
        write_file(folder.settings(), text);
        return StageSettings::read(folder.settings()).status();
    };
    const auto refused = [&](const std::string& was, const std::string& now, const std::string& part) {
        std::string text = kBundleStage;
        text.replace(text.find(was), was.size(), now);
        return has_message(read(text), Code::bad_format, part);
    };
    CHECK(refused("\"format\": 1", "\"format\": 2", "format is 2, expected 1"));
    CHECK(refused("\"format\": 1", "\"format\": \"1\"", "format is missing or not an integer, expected 1"));
    CHECK(refused("\"scene\"", "\"mood\"", "expected only the keys format, scene, source and stages"));
    CHECK(refused("\"source\": ", "\"hash\": 1, \"source\": ", "expected only the keys format, scene"));
    CHECK(refused("\"steps\": [", "\"steps\": [1, ", "a step has no name"));
    CHECK(refused("\"use\": \"tone\"", "\"use\": \"mmr\"", "step 'tone': unknown step 'mmr'"));
    CHECK(refused("\"k\": 200", "\"k\": 200, \"speed\": 3", "step 'inner_product': key 'speed': unknown to this"));
    CHECK(refused("\"k\": 200", "\"k\": 200, \"k\": 201", "a name appears twice"));
    CHECK(refused(", \"k\": 200", "", "step 'inner_product': key 'k': missing"));
    for (const char* k : {"0", "-1", "1.5", "\"5\"", "null", "[5]", "99999999999999999999"}) {
        CHECK(refused("\"k\": 200", std::string("\"k\": ") + k,
                      "step 'inner_product': key 'k': expected an integer ≥ 1"));
    }
    CHECK(refused("\"k\": 20,", "\"k\": 0,", "step 'scattered': key 'k': expected an integer ≥ 1"));
    CHECK(refused("\"half_life_hours\": 24", "\"half_life_hours\": 0", "key 'half_life_hours': expected a number in"));
    CHECK(refused("\"diversity\": 0.3", "\"diversity\": 1.3", "key 'diversity': expected a number in 0 … 1"));
    CHECK(refused("\"factor\": 1.2", "\"factor\": -1.2", "key 'weights': key 'factor': expected a number in 0 …"));
    CHECK(refused("\"value\": 1", "\"value\": 1.0", "key 'weights': key 'value': expected an integer"));
    CHECK(refused("\"centre\": false", "\"centre\": 0", "key 'centre': expected true or false"));
    CHECK(refused("\"facets\": []", "\"facets\": {}", "key 'facets': expected a list"));
    CHECK(refused("\"column\": \"tone\"", "\"column\": \"\"", "step 'tone': key 'column': expected a string"));
    for (std::size_t n = 0; n < kBundleStage.size(); ++n) {
        CHECK(read(kBundleStage.substr(0, n)).code() == Code::bad_format);
    }
}

TEST(settings_refuse_a_karec_toml_with_the_command_that_exports_it) {
    const BundleFolder folder;
    const std::string path = folder.root() + "/karec.toml";
    write_file(path, "bundle = \"bundles\"\n\n[[scenes.home.stages]]\nname = \"prerank\"\n");
    const Status status = StageSettings::read(path).status();
    CHECK(has_message(status, Code::bad_format, path + ": not JSON: byte 0"));
    CHECK(has_message(status, Code::bad_format, "Write the file with karec export stage"));
}

TEST(open_refuses_bundles_that_do_not_match) {
    BundleFolder folder;
    CHECK(has_message(open_stages(folder).status(), Code::io_error, "manifest.json"));
    folder.publish(1);
    CHECK(has_message(open_stages(folder, quota_step("mood", 1)).status(), Code::invalid_argument, "no column 'mood'"));
    const std::string path = folder.folder(1) + "/index.karec";
    const std::string whole = read_file(path);
    write_file(path, whole.substr(0, 100));
    CHECK(has_message(open_stages(folder).status(), Code::bad_format, "has 100 bytes"));
    std::string altered = whole;
    altered[altered.size() - 1] ^= 1;
    write_file(path, altered);
    CHECK(has_message(open_stages(folder).status(), Code::bad_format, "was changed after publishing"));
    // An index of another model version, with a manifest that fits it.
    CHECK(index_of_version(2).pinned().save(path).ok());
    folder.describe(1);
    CHECK(has_message(open_stages(folder).status(), Code::bad_format, "has model version 2, expected the bundle's, 1"));
}

TEST(open_refuses_altered_manifests) {
    BundleFolder folder;
    folder.publish(1);
    const std::string path = folder.folder(1) + "/manifest.json";
    const std::string whole = read_file(path);
    const auto refused = [&](const std::string& was, const std::string& now, const std::string& part) {
        std::string text = whole;
        text.replace(text.find(was), was.size(), now);
        write_file(path, text);
        return has_message(Bundle::open(folder.root()).status(), Code::bad_format, "manifest.json: " + part);
    };
    CHECK(refused("\"format\": 1", "\"format\": 2", "another format, expected 1. Publish the bundle again"));
    CHECK(refused("\"format\": 1", "\"format\": true", "another format"));
    CHECK(refused("\"model_version\": 1", "\"model_version\": 1.5", "model_version or files is missing"));
    CHECK(refused("\"files\": {", "\"files\": [{", "not JSON"));
    CHECK(refused("\"files\"", "\"file\"", "model_version or files is missing"));
    CHECK(refused("index.karec", "a/../../index.karec",
                  "the file 'a/../../index.karec' is not a path within the bundle"));
    CHECK(refused("index.karec", "/index.karec", "the file '/index.karec' is not a path within"));
    CHECK(refused("index.karec", "a\\u0000b", "the file"));
    CHECK(refused("\"bytes\": ", "\"bytes\": -", "the entry of 'index.karec' has no bytes"));
    CHECK(refused("\"xxh64\": \"", "\"xxh64\": \"X", "the entry of 'index.karec' has no bytes or no xxh64"));
    for (std::size_t n = 0; n < whole.size(); ++n) {
        write_file(path, whole.substr(0, n));
        CHECK(Bundle::open(folder.root()).status().code() == Code::bad_format);
    }
}

TEST(dpp_refuses_factors_whose_product_is_above_the_largest_float32) {
    BundleFolder folder;
    folder.publish(1);
    const auto open = [&](const std::string& weights) {
        return open_stages(folder, kIndexRows + dpp_step(4, 0.5, 0.0, weights)).status();
    };
    const std::string big = R"({"column": "type", "value": 1, "factor": 1e20})";
    const std::string other = R"({"column": "creator_id", "value": 3, "factor": 1e20})";
    const std::string same_column = R"({"column": "type", "value": 0, "factor": 1e20})";
    CHECK(has_message(open(big + ", " + other), Code::invalid_argument, "the factors of an item can multiply to more"));
    CHECK(has_message(open(big + ", " + same_column + ", " + big), Code::invalid_argument, "the factors of an item"));
    CHECK(open(big + ", " + same_column).ok());
}
