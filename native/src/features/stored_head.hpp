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

using StoredArrays = std::vector<std::pair<std::string, NpyArray>>;

// The object head[name].
Result<const Json*> stored_part(const Json& head, std::string_view name);
// The list of distinct texts head[name].
Result<std::vector<std::string>> stored_texts(const Json& head, std::string_view name);
Result<bool> stored_flag(const Json& head, std::string_view name);
// The whole number head[name], in least … most.
Result<std::int64_t> stored_whole(const Json& head, std::string_view name, std::int64_t least, std::int64_t most);
// n numbers between 0 and 1, without the two; `name` is for messages.
Result<std::vector<double>> stored_rates(const Json* value, const std::string& name, std::size_t n);
// The rows [name, log, mean, scale] of head[name]: finite, scales above 0.
Result<std::vector<std::pair<std::string, NumberScale>>> stored_scales(const Json& head, std::string_view name);

// nullptr where there is no such array.
const NpyArray* find_array(const StoredArrays& arrays, std::string_view name) noexcept;
// The vocabulary whose keys are stored as `name`.
Result<Vocabulary> stored_vocabulary(const StoredArrays& arrays, const std::string& name);

}  // namespace karec
