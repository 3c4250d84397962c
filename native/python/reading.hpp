// Reading methods of two Python classes: ItemIndex, which pins the index for each call, and HeldView, which holds a
// pin.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <utility>

#include "arrays.hpp"
#include "karec/item_index.hpp"

namespace karec::python {

namespace py = pybind11;

// An IndexView until close(). A call in progress keeps the view until it returns. Used with the GIL held.
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
template <class Face, class Returned, class... Arguments>
auto method(Returned (*read)(const IndexView&, Arguments...)) {
    return [read](const Face& face, Arguments... arguments) {
        if constexpr (std::is_same_v<Face, ItemIndex>) {
            return read(face.pinned(), arguments...);
        } else {
            return read(*face.view(), arguments...);
        }
    };
}

// Add the reading methods to either class.
template <class Face>
void bind_reads(py::class_<Face>& face);
template <class Face>
void bind_searches(py::class_<Face>& face);
template <class Face>
void bind_selections(py::class_<Face>& face);

}  // namespace karec::python
