// GenerationStore has the newest generation of an index, the older ones that readers pin, and the rows that are free.
//
// Algorithm  Hazard pointers: a pin writes the newest generation into a slot and checks that it is still the newest; if
//            not, it takes the newer one. It never blocks, and repeats only if a commit fell in between. One write
//            transaction at a time; a commit publishes a pointer, then frees the older generations that no slot has.
// Cost       of a pin: three stores and three loads on a cache line that no other reader writes, and one load for each
//            slot that others use.
// Invariants
//   - generations_ is ordered by number; its last element is newest_.
//   - A generation in a slot stays in generations_. It never changes, except at rows that it does not show.
//   - A row in free_rows_ has no item from generation `first_unused` on. It is reused only when no older generation is
//     left, so that no reader sees the new vector under the old item.
//   - free_rows_ is ordered by `first_unused`.
//   - A slot belongs to one pin while `is_taken`. Slots are freed with the store.
//   - A generation in orphaned_ stays in generations_, but its rows are reused as if it were not there.
// Threads    Any thread may pin; any thread may open a transaction and waits for the open one. No pin outlives the
//            store.
// Fork       fork() waits for the open transaction. The child frees the slots of other threads and orphans their
//            generations: these threads do not exist in the child, but their views may.
// Source     M. M. Michael, Hazard pointers: safe memory reclamation for lock-free objects, TPDS 15(6), 2004.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "base/at_fork.hpp"
#include "index/generation.hpp"

namespace karec {

// The generation of one pin. On a cache line that no other reader writes.
struct alignas(64) HazardSlot {
    std::atomic<const Generation*> generation{nullptr};
    std::atomic<bool> is_taken{false};
    HazardSlot* next = nullptr;
    pthread_t owner{};        // the thread that took it
    std::uint32_t epoch = 0;  // + 1 when a child frees the slot: pins of earlier epochs are invalid
};

class GenerationStore {
  public:
    explicit GenerationStore(std::unique_ptr<Generation> first);
    GenerationStore(const GenerationStore&) = delete;
    GenerationStore& operator=(const GenerationStore&) = delete;
    ~GenerationStore();

    // A slot with the newest generation, which stays unchanged until unpin(slot). IndexView owns it.
    HazardSlot* pin() const noexcept;
    static void unpin(HazardSlot* slot) noexcept;

    // Called before and after a fork (base/at_fork.hpp).
    void lock_for_fork() noexcept { writing_.lock(); }
    void unlock_after_fork(bool in_child) noexcept;

    // Makes the next generation from a copy of the newest one, with the writers' lock. Nothing changes without
    // commit().
    class WriteTransaction {
      public:
        explicit WriteTransaction(GenerationStore& store);
        Generation& operator*() noexcept { return *next_; }
        Generation* operator->() noexcept { return next_.get(); }

        // A row that no reader sees: a free one, or a new one behind the last.
        std::size_t new_row();
        // Removes the item of `row` from the next generation; the row is free once no reader can see it.
        void retire(std::size_t row);
        // Makes `other` the next generation: a copy of *this in which items have other rows, in its own pages, so that
        // it has no free rows. Do not call it after new_row() or retire().
        void replace(Generation other);
        // Publishes the next generation. Changes nothing if it throws std::bad_alloc.
        void commit();

      private:
        GenerationStore& store_;
        std::unique_lock<std::mutex> lock_;
        std::unique_ptr<Generation> next_;
        std::size_t n_reused_ = 0;  // of free_rows_, from the front
        std::vector<std::size_t> retired_;
        bool replaced_ = false;
    };

  private:
    struct FreeRow {
        std::uint64_t first_unused;  // number of the first generation without it
        std::size_t row;
    };

    HazardSlot* take_slot() const noexcept;
    void reclaim() noexcept;
    bool is_orphaned(const Generation* generation) const noexcept;

    std::atomic<const Generation*> newest_;
    mutable std::atomic<HazardSlot*> slots_{nullptr};
    std::mutex writing_;
    std::vector<std::unique_ptr<const Generation>> generations_;
    std::vector<const Generation*> orphaned_;  // pinned by threads that do not exist after a fork
    std::uint64_t oldest_ = 0;                 // number of the oldest generation that a thread may read
    std::vector<FreeRow> free_rows_;
    AtFork<GenerationStore> at_fork_{*this};
};

}  // namespace karec
