// The newest generation of an index, the older ones that readers still pin, and the rows that are free again.
//
// Readers: a pin writes the generation that it took into a hazard slot and checks that it is still the newest; if not,
// it takes the newer one (Michael, "Hazard pointers", 2004). It never blocks, and repeats only if a commit fell in
// between. Cost: three stores and three loads, on a cache line that no other reader writes, and one load for each slot
// that others hold.
// Writers: one transaction at a time. A commit publishes a pointer, then frees the older generations that no slot
// holds.
//
// Invariants:
//   - generations_ is ordered by number; its last element is newest_.
//   - A generation that a slot holds stays in generations_. It is never changed, but at rows that it does not show.
//   - A row in free_rows_ holds no work from generation `since` on. It is written again only when no generation before
//     `since` is left, so that no reader sees the new vector under the old work.
//   - free_rows_ is ordered by `since`.
//   - A slot belongs to one pin while `taken`. Slots are never freed before the store is.
//   - A generation in orphaned_ stays in generations_, but rows are used again as if it were not there.
// Threads: any thread may pin; any thread may open a transaction and waits for the open one. No pin may outlive the
// store.
// Fork: it waits for the open transaction. The child takes the slots of other threads back, and orphans what they held:
// those threads are not there to release it, but views that they made may be.
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

// A place in which a reader names the generation that it holds. On a cache line that no other reader writes.
struct alignas(64) HazardSlot {
    std::atomic<const Generation*> held{nullptr};
    std::atomic<bool> taken{false};
    HazardSlot* next = nullptr;
    pthread_t owner{};        // the thread that took it
    std::uint32_t epoch = 0;  // + 1 when a child took it back: a pin of an earlier epoch holds nothing
};

class GenerationStore {
  public:
    explicit GenerationStore(std::unique_ptr<Generation> first);
    GenerationStore(const GenerationStore&) = delete;
    GenerationStore& operator=(const GenerationStore&) = delete;
    ~GenerationStore();

    // A slot that names the newest generation, which stays unchanged until unpin(slot). IndexView is its owner.
    HazardSlot* pin() const noexcept;
    static void unpin(HazardSlot* slot) noexcept;
    static const Generation* held_by(const HazardSlot* slot) noexcept {
        return slot->held.load(std::memory_order_relaxed);
    }

    // Called before and after a fork (base/at_fork.hpp).
    void lock_for_fork() noexcept { writing_.lock(); }
    void unlock_after_fork(bool in_child) noexcept;

    // Makes the next generation from a copy of the newest. Holds the writers' lock; without commit() nothing changes.
    class WriteTransaction {
      public:
        explicit WriteTransaction(GenerationStore& store);
        Generation& operator*() noexcept { return *next_; }
        Generation* operator->() noexcept { return next_.get(); }

        // A row that no reader sees, for a new vector: a free one, or a new one behind the last.
        std::size_t new_row();
        // Takes the work of `row` out of the next generation; the row is free again once no reader can see it.
        void retire(std::size_t row);
        // The next generation is `other`, made of *this, in which works have other rows: those are pages of its own, so
        // that nothing of what was free or retired before concerns it. Without new_row() or retire() before.
        void replace(Generation other);
        // Publishes the next generation. Throws std::bad_alloc, and then nothing has changed.
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
        std::uint64_t since;  // number of the first generation that does not show it
        std::size_t row;
    };

    HazardSlot* take_slot() const noexcept;
    void reclaim() noexcept;
    bool is_orphaned(const Generation* generation) const noexcept;

    std::atomic<const Generation*> newest_;
    mutable std::atomic<HazardSlot*> slots_{nullptr};
    std::mutex writing_;
    std::vector<std::unique_ptr<const Generation>> generations_;
    std::vector<const Generation*> orphaned_;  // held by threads that a fork left behind
    std::uint64_t oldest_ = 0;                 // number of the oldest generation that somebody may read
    std::vector<FreeRow> free_rows_;
    AtFork<GenerationStore> at_fork_{*this};
};

}  // namespace karec
