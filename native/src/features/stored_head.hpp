// Values of an encoder's JSON head, checked as they are read. Every refusal is bad_format and names the value.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "base/npy.hpp"
#include "features/numbers.hpp"
#include "features/vocabulary.hpp"
#include "karec/status.hpp"

namespace karec {

// The object head[name].
Result<JsonValue> stored_part(JsonValue head, std::string_view name);
// The list of distinct texts head[name].
Result<std::vector<std::string>> stored_texts(JsonValue head, std::string_view name);
Result<bool> stored_flag(JsonValue head, std::string_view name);
// The whole number head[name], in min … max.
Result<std::int64_t> stored_whole(JsonValue head, std::string_view name, std::int64_t min, std::int64_t max);
// n numbers between 0 and 1, without the two; `name` is for messages.
Result<std::vector<double>> stored_rates(JsonValue value, const std::string& name, std::size_t n);
// The rows [name, log, mean, scale] of head[name]: finite, scales above 0.
Result<std::vector<std::pair<std::string, NumberScale>>> stored_scales(JsonValue head, std::string_view name);

// The vocabulary whose keys are stored as `name`.
Result<Vocabulary> stored_vocabulary(const NpyArrays& arrays, const std::string& name);

}  // namespace karec
