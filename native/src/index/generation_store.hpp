// The newest generation, the older ones that readers still pin, and the rows that nobody can see any more.
//
// A reader writes the generation that it took into a slot of its own and looks whether it is still the newest; if not,
// it takes the newer one (Michael, "Hazard pointers", 2004). It never blocks, and repeats only when a write was
// published in that moment. A writer, one at a time, publishes a pointer and then frees the older generations that
// stand in no slot. Cost of a pin: two stores and three loads, on a cache line that no other reader writes.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "index/generation.hpp"

namespace karec {

class Living {
    struct alignas(64) Slot {
        std::atomic<const Generation*> held{nullptr};
        std::atomic<bool> taken{false};
        Slot* next = nullptr;
    };

  public:
    explicit Living(std::unique_ptr<Generation> first);
    Living(const Living&) = delete;
    Living& operator=(const Living&) = delete;
    ~Living();

    // One generation, as long as the pin lives.
    class Pin {
      public:
        explicit Pin(const Living& living) noexcept;
        Pin(const Pin&) = delete;
        Pin& operator=(const Pin&) = delete;
        ~Pin();
        const Generation& operator*() const noexcept { return *generation_; }
        const Generation* operator->() const noexcept { return generation_; }

      private:
        Slot* slot_;
        const Generation* generation_;
    };

    // The next generation while it is made. Other writers wait; a draft that is not published never was.
    class Draft {
      public:
        explicit Draft(Living& living);
        Generation& operator*() noexcept { return *next_; }
        Generation* operator->() noexcept { return next_.get(); }

        // A row that no reader can see, for a new vector: one that was used before, or one behind the last.
        std::size_t new_row();
        // From this generation on, `row` holds no work.
        void retire(std::size_t row);
        void publish();

      private:
        Living& living_;
        std::unique_lock<std::mutex> lock_;
        std::unique_ptr<Generation> next_;
        std::size_t n_reused_ = 0;
        std::vector<std::size_t> retired_;
    };

  private:
    struct FreeRow {
        std::uint64_t since;  // the first generation that does not show it
        std::size_t row;
    };

    Slot* take_slot() const noexcept;
    void reclaim() noexcept;

    std::atomic<const Generation*> newest_;
    mutable std::atomic<Slot*> slots_{nullptr};
    std::mutex writing_;
    std::vector<std::unique_ptr<const Generation>> kept_;  // by age; the newest is the last
    std::vector<FreeRow> free_;                            // by age
};

}  // namespace karec
