// Stages against its steps called one by one, and the requests and bundles that it refuses.
#include "karec/stages.hpp"

#include <algorithm>
#include <limits>
#include <vector>

#include "check.hpp"
#include "karec/dpp.hpp"
#include "karec/ecosystem.hpp"
#include "stage_requests.hpp"

using namespace karec;

TEST(steps_give_what_their_functions_give) {
    BundleFolder folder;
    folder.publish(1);
    const auto ranker = Stages::open(folder.root(), StageSettings::read(folder.settings()).value());
    CHECK(ranker.ok());
    const auto ids = all_ids();
    const std::vector<std::int64_t> shown = {0, 6, 12, 17};
    Request request = request_of(ids);
    request.shown = shown;
    CHECK(ranker->most(request) == 20);
    Answer got(20);
    const auto count = ranker->run(request, got.spans());
    CHECK(count.ok() && count->found == 20 && count->unknown == 600 && count->model_version == 1);

    const ItemIndex index = ranker->index();
    std::vector<float> scores(200);
    std::vector<std::int64_t> best(200);
    std::vector<std::int32_t> rows(200);
    std::vector<std::int64_t> positions(200);
    const auto found = index.search(kUser, Candidates::of_ids(ids), {scores, best, rows, positions});
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
    CHECK(index.gather_column("upload_ms", rows, column).ok());
    const std::vector<float> before = scores;
    CHECK(freshness(before, {"", DType::int64, column}, kBundleNow, 0.05, 24.0, scores).ok());
    column.resize(rows.size() * 4);
    CHECK(index.gather_column("tone", rows, column).ok());
    std::vector<std::uint8_t> keep(rows.size());
    CHECK(tone({"", DType::float32, column}, 0.1, keep).ok());
    drop([&](std::size_t i) { return keep[i] != 0; });
    column.resize(rows.size() * 8);
    keep.resize(rows.size());
    CHECK(index.gather_column("creator_id", rows, column).ok());
    CHECK(quota(scores, {"", DType::int64, column}, 3, keep).ok());
    drop([&](std::size_t i) { return keep[i] != 0; });
    const std::size_t n = rows.size();
    std::vector<float> vectors(n * kBundleDim);
    CHECK(index.gather(rows, vectors).ok());
    std::vector<std::int32_t> shown_rows(shown.size());
    CHECK(index.lookup(shown, shown_rows).ok());
    std::erase(shown_rows, kUnknownRow);
    std::vector<float> seen(shown_rows.size() * kBundleDim);
    CHECK(index.gather(shown_rows, seen).ok());
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
        CHECK(got.ids[i] == best[at] && got.scores[i] == scores[at] && got.rows[i] == rows[at]);
    }
}

TEST(fused_and_single_steps_give_the_same) {
    BundleFolder folder;
    folder.publish(1);
    const auto ids = all_ids();
    const auto fused = Stages::open(folder.root(), stage(kIndexRows + kHasEmbedding + inner_product_step(50)));
    // With another step before them the three steps are not fused into one search.
    const auto apart = Stages::open(folder.root(), stage(R"({"use": "not_shown", "name": "not_shown"}, )" + kIndexRows +
                                                         kHasEmbedding + inner_product_step(50)));
    CHECK(fused.ok() && apart.ok());
    Answer one(50);
    Answer other(50);
    const auto a = fused->run(request_of(ids), one.spans());
    const auto b = apart->run(request_of(ids), other.spans());
    CHECK(a.ok() && b.ok() && a->found == 50 && b->found == 50 && one == other);
    CHECK(a->unknown == b->unknown && a->blocked == b->blocked);
}

TEST(each_row_meets_the_user_vector_of_its_model_version) {
    BundleFolder folder;
    folder.publish(1);
    const auto ranker = Stages::open(
        folder.root(), stage(kIndexRows + kHasEmbedding + inner_product_step(300) + ", " + dpp_step(40, 0.5, 0.0)));
    CHECK(ranker.ok());
    ItemIndex index = ranker->index();
    const std::vector<std::int64_t> newer = {0, 3, 6, 9};
    const std::vector<float> vectors(newer.size() * kBundleDim, 1.0f);
    CHECK(index.upsert(newer, {vectors.data(), newer.size(), kBundleDim, DType::float32}, {}, 2).ok());
    const std::vector<std::int64_t> ids = {0, 6, 300, 303, 1};
    Answer out(5);
    CHECK(says(ranker->run(request_of(ids), out.spans()).status(), Code::invalid_argument,
               "holds vectors of model versions 1, 2"));

    const std::vector<float> other(kBundleDim, 2.0f);
    const VersionQuery users[] = {{1, kUser}, {2, other}, {7, kUser}};
    Request request = request_of(ids);
    request.user_vector = {};
    request.user_vectors = users;
    const auto count = ranker->run(request, out.spans());
    CHECK(count.ok() && count->found == 4 && count->unknown == 1 && count->generation == 2);
    for (std::size_t i = 0; i < count->found; ++i) {
        const bool is_newer = out.ids[i] <= 6;
        std::vector<float> score(1);
        const Query own(std::span<const VersionQuery>(users).subspan(is_newer ? 1 : 0, 1));
        CHECK(index.scores(own, Candidates::of_ids(std::span(out.ids).subspan(i, 1)), score).ok());
        CHECK(score[0] == out.scores[i] && (!is_newer || score[0] == 16.0f));
    }

    request.user_vectors = std::span(users).first(1);  // none for version 2: its rows are left out and counted
    const auto fewer = ranker->run(request, out.spans());
    CHECK(fewer.ok() && fewer->found == 2 && fewer->unknown == 3);
    request.user_vector = kUser;
    CHECK(says(ranker->run(request, out.spans()).status(), Code::invalid_argument, "either one user_vector or"));
    const VersionQuery three[] = {{2, std::span(other).first(3)}};
    request.user_vector = {};
    request.user_vectors = three;
    CHECK(says(ranker->run(request, out.spans()).status(), Code::invalid_argument,
               "the user vector of model version 2 has 3 values, expected 8"));
}

TEST(recall_scores_rank_where_no_step_scores) {
    BundleFolder folder;
    folder.publish(1);
    const auto ranker = Stages::open(folder.root(), stage(kIndexRows + kHasEmbedding + quota_step("creator_id", 1)));
    const std::vector<std::int64_t> ids = {0, 150, 300};  // one creator
    const std::vector<float> scores = {1.0f, 3.0f, 2.0f};
    Request request = request_of(ids);
    request.recall_scores = scores;
    Answer out(3);
    const auto count = ranker->run(request, out.spans());
    CHECK(count.ok() && count->found == 1 && out.ids[0] == 150 && out.scores[0] == 3.0f);
}

TEST(no_candidates_give_an_empty_answer) {
    BundleFolder folder;
    folder.publish(1);
    const auto ranker = Stages::open(folder.root(), StageSettings::read(folder.settings()).value());
    const auto count = ranker->run(request_of({}), {});
    CHECK(count.ok() && count->found == 0);
}

TEST(a_run_refuses_requests_that_do_not_fit) {
    BundleFolder folder;
    folder.publish(1);
    const auto ranker = Stages::open(folder.root(), StageSettings::read(folder.settings()).value());
    const auto ids = all_ids();
    Answer out(20);
    Request request = request_of(ids);
    const std::vector<float> three(3, 1.0f);
    request.user_vector = three;
    CHECK(says(ranker->run(request, out.spans()).status(), Code::invalid_argument,
               "user_vector has 3 values, expected 8"));
    const std::vector<float> nan(8, std::numeric_limits<float>::quiet_NaN());
    request.user_vector = nan;
    CHECK(says(ranker->run(request, out.spans()).status(), Code::invalid_argument, "user_vector holds NaN"));
    request.user_vector = {};
    CHECK(says(ranker->run(request, out.spans()).status(), Code::unavailable, "needs a user vector"));
    request = request_of(ids);
    Answer small(19);
    small.ids[0] = -7;
    CHECK(says(ranker->run(request, small.spans()).status(), Code::invalid_argument,
               "out has 19 entries, the steps left 20"));
    CHECK(small.ids[0] == -7);
    request.k = 0;
    CHECK(says(ranker->run(request, out.spans()).status(), Code::invalid_argument, "k must be positive"));
}

TEST(settings_have_the_scene_and_source_of_the_file) {
    const auto settings = StageSettings::parse(kBundleStage).value();
    CHECK(settings.scene == "home" && settings.source == "00c0ffee00c0ffee" && settings.steps.size() == 8);
    const auto& dpp = std::get<DppStep>(settings.steps.back().what);
    CHECK(settings.steps.back().name == "scattered" && dpp.k == 20 && dpp.diversity == 0.3 && !dpp.window);
    CHECK(dpp.weights.size() == 1 && dpp.weights[0].column == "type" && dpp.weights[0].factor == 1.2);
}

TEST(settings_refuse_altered_stages_by_step_and_key) {
    const auto refused = [](const std::string& was, const std::string& now, const std::string& part) {
        std::string text = kBundleStage;
        text.replace(text.find(was), was.size(), now);
        return says(StageSettings::parse(text).status(), Code::bad_format, part);
    };
    CHECK(refused("\"format\": 1", "\"format\": 2", "another format, expected 1"));
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
    CHECK(refused("\"column\": \"tone\"", "\"column\": \"\"", "step 'tone': key 'column': expected a text"));
    for (std::size_t n = 0; n < kBundleStage.size(); ++n) {
        CHECK(StageSettings::parse(kBundleStage.substr(0, n)).status().code() == Code::bad_format);
    }
}

TEST(settings_refuse_a_karec_toml_with_the_command_that_exports_it) {
    const BundleFolder folder;
    const std::string path = folder.root() + "/karec.toml";
    write_file(path, "bundle = \"bundles\"\n\n[[scenes.home.stages]]\nname = \"prerank\"\n");
    const Status status = StageSettings::read(path).status();
    CHECK(says(status, Code::bad_format, path + ": not JSON: byte 0"));
    CHECK(says(status, Code::bad_format, "Write the file with karec export stage"));
}

TEST(open_refuses_bundles_that_do_not_fit) {
    BundleFolder folder;
    const auto settings = StageSettings::read(folder.settings()).value();
    CHECK(says(Stages::open(folder.root(), settings).status(), Code::io_error, "manifest.json"));
    folder.publish(1);
    CHECK(says(Stages::open(folder.root(), stage(quota_step("mood", 1))).status(), Code::invalid_argument,
               "no column 'mood'"));
    const std::string path = folder.folder(1) + "/index.karec";
    const std::string whole = read_file(path);
    write_file(path, whole.substr(0, 100));
    CHECK(says(Stages::open(folder.root(), settings).status(), Code::bad_format, "has 100 bytes"));
    std::string altered = whole;
    altered[altered.size() - 1] ^= 1;
    write_file(path, altered);
    CHECK(says(Stages::open(folder.root(), settings).status(), Code::bad_format, "was changed after publishing"));
    // An index of another model version, with a manifest that fits it.
    CHECK(index_of_version(2).save(path).ok());
    folder.describe(1);
    CHECK(
        says(Stages::open(folder.root(), settings).status(), Code::bad_format, "of model version 2, its bundle of 1"));
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
        return says(Bundle::open(folder.root()).status(), Code::bad_format, "manifest.json: " + part);
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

// Settings that a host fills in by hand: no reader has checked them.
TEST(open_refuses_steps_that_make_no_sense) {
    BundleFolder folder;
    folder.publish(1);
    constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    const auto refused = [&](auto step, const std::string& part) {
        return says(Stages::open(folder.root(), {"home", {{"mine", step}}}).status(), Code::invalid_argument,
                    "step mine: " + part);
    };
    const auto dpp = [](auto&& change) {
        DppStep step;
        change(step);
        return step;
    };
    CHECK(Stages::open(folder.root(), {"home", {{"mine", DppStep{}}}}).ok());
    CHECK(refused(InnerProductStep{0}, "k must be"));
    CHECK(refused(QuotaStep{"creator_id", 0}, "at_most must be"));
    for (const double odd : {kNan, kInfinity, -kInfinity}) {
        CHECK(refused(ToneStep{"tone", odd}, "at_least must be finite"));
        CHECK(refused(FreshnessStep{odd, 24.0}, "weight"));
        if (!(odd > 0.0)) CHECK(refused(FreshnessStep{0.1, odd}, "half_life"));
        CHECK(refused(dpp([&](DppStep& s) { s.diversity = odd; }), "diversity must lie"));
        CHECK(refused(dpp([&](DppStep& s) { s.ridge = odd; }), "ridge must lie in"));
        CHECK(refused(dpp([&](DppStep& s) { s.type_weight = odd; }), "type_weight must lie"));
    }
    for (const double odd : {kNan, kInfinity, -1.0, 1e39}) {
        CHECK(refused(dpp([&](DppStep& s) { s.weights = {{"type", 1, odd}}; }), "weights must lie"));
    }
    CHECK(refused(dpp([](DppStep& s) { s.k = 0; }), "k must be"));
    CHECK(refused(dpp([](DppStep& s) { s.window = 0; }), "window must be"));
    CHECK(refused(dpp([](DppStep& s) { s.max_per_type = 0; }), "max_per_type must be positive"));
}
