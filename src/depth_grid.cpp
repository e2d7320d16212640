// Poses and bent pointmaps from matches. All arrays are the caller's (sab3r_ros/mapping/depth_grid.py), contiguous.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "wide.h"

namespace {

// The four nodes around a place of a grid and their bilinear weights.
struct Corners {
  int64_t node[4];
  double weight[4];
  Corners(double x, double y, int64_t rows, int64_t columns) {
    const int64_t c = std::clamp<int64_t>(int64_t(x), 0, columns - 2), r = std::clamp<int64_t>(int64_t(y), 0, rows - 2);
    const double u = x - double(c), v = y - double(r);
    const int64_t first = r * columns + c;
    node[0] = first, node[1] = first + 1, node[2] = first + columns, node[3] = first + columns + 1;
    weight[0] = (1 - u) * (1 - v), weight[1] = u * (1 - v), weight[2] = (1 - u) * v, weight[3] = u * v;
  }
  double of(const double* grid) const {
    double sum = 0;
    for (int k = 0; k < 4; ++k) sum += weight[k] * grid[node[k]];
    return sum;
  }
};

using Vec = double[3];

double dot(const Vec& a, const Vec& b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

// [−[p]×, I, p]ᵀ v
void turned(const Vec& p, const Vec& v, double* out) {
  out[0] = p[1] * v[2] - p[2] * v[1], out[1] = p[2] * v[0] - p[0] * v[2], out[2] = p[0] * v[1] - p[1] * v[0];
  out[3] = v[0], out[4] = v[1], out[5] = v[2], out[6] = dot(p, v);
}

}  // namespace

extern "C" {

// Normal equations of n looks, as look_equations (alignment.cpp), but with respect to all keyframes' poses and grids: δ holds
// for each keyframe (rotation, translation, log scale), then its nodes; A + Aᵀ is the matrix, b the right side. grids:
// (keyframes, rows × columns), log factors of depth. seeing, seen: (2, N), where in the grids (column, row) the matched pixels
// of the camera that looks, and of the one looked at, are.
WIDE int64_t grid_equations(const double* poses, int64_t keyframes, const double* grids, int64_t rows, int64_t columns,
                       const int64_t* pairs, const int64_t* ends, int64_t n, const double* rays, const double* log_distance,
                       const double* points, const double* weight, const double* seeing, const double* seen, int64_t N,
                       double ray_sigma, double depth_sigma, double width, double* A, double* b, double* cost) {
  const int64_t nodes = rows * columns, block = 7 + nodes, size = keyframes * block;
  const double per_ray = 1 / ray_sigma, per_depth = 1 / depth_sigma, per_square = 1 / (width * width);
  *cost = 0;
  for (int64_t look = 0; look < n; ++look) {
    const int64_t i = pairs[2 * look] * block, j = pairs[2 * look + 1] * block;
    const double *P = poses + 13 * pairs[2 * look], *Q = poses + 13 * pairs[2 * look + 1], log_scale = std::log(P[0]);
    const double *grid_i = grids + pairs[2 * look] * nodes, *grid_j = grids + pairs[2 * look + 1] * nodes;
    double pose[7][7] = {}, pull[7] = {};
    for (int64_t m = ends[look]; m < ends[look + 1]; ++m) {
      const Corners from(seeing[m], seeing[N + m], rows, columns), at(seen[m], seen[N + m], rows, columns);
      const double factor = Q[0] * std::exp(at.of(grid_j));
      double arm[3], u[3], ray[3], square = 0, length = 0, across = 0, reach = 0;
      Vec p;
      for (int k = 0; k < 3; ++k) {
        const double* R = Q + 1 + 3 * k;
        arm[k] = factor * (R[0] * points[m] + R[1] * points[N + m] + R[2] * points[2 * N + m]);
        p[k] = arm[k] + Q[10 + k];
        u[k] = p[k] - P[10 + k];
        length += u[k] * u[k];
      }
      length = std::sqrt(std::max(length, 1e-18));
      const double inverse = 1 / length;
      for (int k = 0; k < 3; ++k) {
        const double* R = P + 1 + 3 * k;
        u[k] *= inverse;
        ray[k] = (u[k] - R[0] * rays[m] - R[1] * rays[N + m] - R[2] * rays[2 * N + m]) * per_ray;
        square += ray[k] * ray[k], across += ray[k] * u[k], reach += arm[k] * u[k];
      }
      const double depth = (std::log(length) - log_distance[m] - from.of(grid_i) - log_scale) * per_depth;
      square += depth * depth;
      const double kernel = 1 / (1 + square * per_square), w = weight[m] * kernel * kernel;  // Geman-McClure
      *cost += weight[m] * square * kernel;
      // A residual across u is α dp, one along it β dp − dg / σ, dp being the point's way and dg the log factor's, here. So
      // dp weighs M = w (α² (I − u uᵀ) + β² u uᵀ), and dp = D δ + arm dg, there; D = [−[p]×, I, p].
      const double alpha = inverse * per_ray, beta = inverse * per_depth;
      const double even = w * alpha * alpha, along = w * (beta * beta - alpha * alpha);
      Vec column[7], towards, there, here;
      for (int k = 0; k < 3; ++k) {
        for (int c = 0; c < 3; ++c) column[3 + c][k] = along * u[k] * u[c] + (k == c ? even : 0);
        towards[k] = (ray[k] - u[k] * across) * (w * alpha) + u[k] * (w * depth * beta);
        there[k] = even * arm[k] + along * reach * u[k];
        here[k] = -w * beta * per_depth * u[k];
      }
      for (int k = 0; k < 3; ++k) {
        column[0][k] = p[1] * column[5][k] - p[2] * column[4][k];
        column[1][k] = p[2] * column[3][k] - p[0] * column[5][k];
        column[2][k] = p[0] * column[4][k] - p[1] * column[3][k];
        column[6][k] = p[0] * column[3][k] + p[1] * column[4][k] + p[2] * column[5][k];
      }
      double row[7], row_there[7], row_here[7];
      for (int c = 0; c < 7; ++c) {
        turned(p, column[c], row);
        for (int a = 0; a < 7; ++a) pose[c][a] += row[a];
      }
      turned(p, towards, row), turned(p, there, row_there), turned(p, here, row_here);
      for (int a = 0; a < 7; ++a) pull[a] += row[a];
      const double g = dot(towards, arm), both = dot(here, arm), twice = 0.5 * dot(there, arm);
      const double once = 0.5 * w * per_depth * per_depth;
      for (int k = 0; k < 4; ++k) {
        const double s = at.weight[k], t = from.weight[k];
        double *of_j = A + (j + 7 + at.node[k]) * size, *of_i = A + (i + 7 + from.node[k]) * size;
        b[j + 7 + at.node[k]] -= s * g, b[i + 7 + from.node[k]] += t * w * depth * per_depth;
        for (int a = 0; a < 7; ++a) {
          of_j[j + a] += s * row_there[a], of_j[i + a] -= s * row_there[a];
          of_i[j + a] += t * row_here[a], of_i[i + a] -= t * row_here[a];
        }
        for (int q = 0; q < 4; ++q) {
          of_j[i + 7 + from.node[q]] += s * from.weight[q] * both;
          of_j[j + 7 + at.node[q]] += s * at.weight[q] * twice;
          of_i[i + 7 + from.node[q]] += t * from.weight[q] * once;
        }
      }
    }
    for (int a = 0; a < 7; ++a) {
      b[j + a] -= pull[a], b[i + a] += pull[a];
      for (int c = 0; c < 7; ++c) {
        A[(j + a) * size + j + c] += 0.5 * pose[a][c], A[(i + a) * size + i + c] += 0.5 * pose[a][c];
        A[(j + a) * size + i + c] -= pose[a][c];
      }
    }
  }
  return n;
}

}  // extern "C"
