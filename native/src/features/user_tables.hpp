// A bundle's encoder and the files of its snapshot that the user's side of a request is made of.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "features/snapshot_files.hpp"
#include "features/stored_encoder.hpp"
#include "karec/user_encoder.hpp"

namespace karec {

inline constexpr std::size_t kMostEdges = 100;  // so many latest follows and friends are looked at

// Everything that encoding one user of a bundle reads.
struct UserTables {
    StoredEncoder encoder;
    StoredHead head;
    StoredIds users;
    StoredIds works;
    std::vector<StoredColumn> user_categories;
    std::vector<StoredColumn> user_numbers;
    std::vector<StoredColumn> user_moments;
    std::vector<StoredColumn> user_counters;
    std::vector<StoredColumn> scene_counters;  // none where the snapshot counted nothing by scene
    std::vector<StoredColumn> work_categories;
    std::optional<StoredLists> history;
    std::optional<StoredLists> skipped;
    std::optional<StoredLists> follows;
    std::optional<StoredLists> friends;
    // Categories that users and works have by the same name, in the works' order: the column, the works' codes.
    std::vector<std::pair<const StoredColumn*, const Vocabulary*>> shared;
    std::vector<TensorSpec> outputs;
    std::size_t n_codes = 0;
    std::size_t n_numbers = 0;

    // As UserEncoder::open.
    static Result<std::shared_ptr<const UserTables>> open(const Bundle& bundle, bool verify);

    UserTables(StoredEncoder of_encoder, StoredHead of_head, StoredIds of_users, StoredIds of_works) noexcept;
    UserTables(const UserTables&) = delete;  // `shared` points into it
    UserTables& operator=(const UserTables&) = delete;

  private:
    Status open_columns(const Bundle& bundle, bool verify);
    Status open_lists(const Bundle& bundle, bool verify);
    void describe();
};

}  // namespace karec
