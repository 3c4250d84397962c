// What reads an index from Python: ItemIndex, on a fresh pin for each call, and HeldView, on the one that it holds.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <utility>

#include "karec/item_index.hpp"

namespace karec::python {

namespace py = pybind11;

// A view until close() or its own end. A call that runs meanwhile keeps the view to its end. Used under the GIL.
class HeldView {
  public:
    explicit HeldView(IndexView view) : view_(std::make_shared<const IndexView>(std::move(view))) {}

    std::shared_ptr<const IndexView> view() const {
        if (view_ == nullptr) throw py::value_error("this view of the index is closed: take a new one, index.pinned()");
        return view_;
    }
    void close() noexcept { view_.reset(); }

  private:
    std::shared_ptr<const IndexView> view_;
};

// `read` as a method of ItemIndex or HeldView.
template <class Face, class Answer, class... Arguments>
auto method(Answer (*read)(const IndexView&, Arguments...)) {
    return [read](const Face& face, Arguments... arguments) {
        if constexpr (std::is_same_v<Face, ItemIndex>) {
            return read(face.pinned(), arguments...);
        } else {
            return read(*face.view(), arguments...);
        }
    };
}

// Add the reading methods to the class of either.
template <class Face>
void bind_reads(py::class_<Face>& face);
template <class Face>
void bind_searches(py::class_<Face>& face);
template <class Face>
void bind_selections(py::class_<Face>& face);

}  // namespace karec::python
