/* A forest of decision trees, asked without the library that trained it.
 *
 * Every node of every tree asks a question about one feature: "is it above this threshold?", "is it outside of this set
 * of levels?". A forest has many nodes and few different questions, so each question is answered once a row, as a bit.
 * A walk from root to leaf is then the same short step for every kind of node:
 *
 *     next = left child + bit of the question          (0: left, 1: right, which stands beside left)
 *
 * A leaf asks question 0, whose bit is always 0, and leads to itself: a walk need not know when it has arrived.
 * Eight walks go side by side, so that the processor has something to do while it waits for memory.
 *
 * The arrays come from Python (questions.py). `forest_check` looks at every one of them once, when a model is loaded;
 * what it has passed, no row can lead out of bounds. Nothing here allocates, and nothing is kept between two calls.
 * Built by `make kernel` for x86-64 and arm64: plain C11, no special instructions, no contraction of a * b + c. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#define LANES 8               /* walks side by side */
#define CHILD_BITS 14         /* a node: 18 bits of question, 14 bits of left child, counted within its tree */
#define CHILD_MASK ((1u << CHILD_BITS) - 1)
#define MOST_WORDS ((1 << (32 - CHILD_BITS)) / 32)
#define ZERO_THRESHOLD ((double)1e-35f) /* LightGBM: a smaller number is zero */

enum { MISSING_NEVER, MISSING_ZERO, MISSING_NAN };
enum { RAW, SIGMOID, SOFTMAX, EXPONENTIAL, LOG_ONE_PLUS_EXPONENTIAL, SIGNED_SQUARE, TRANSFORMS };

/* Questions about one feature that are answered together; their bits begin at a whole word. */
typedef struct {
    int64_t first;        /* of its thresholds (they rise); of a category, of its table */
    int32_t feature;
    int32_t levels;       /* of a category: lines of the table before the one for any other level; of a number, -1 */
    int32_t missing;      /* of a number: what counts as missing */
    int32_t missing_left; /* and whether it goes left */
    int32_t count;        /* questions */
    int32_t word;         /* where the answers begin in a row's words */
} group_t;

typedef struct {
    const group_t *group;
    const double *threshold;
    const uint32_t *table; /* of each level of a category, its answers */
    const int64_t *root;   /* of each tree, its first node; and the end */
    const uint32_t *node;
    const double *value; /* of each node; only those of leaves are read */
    const int32_t *leaf; /* of each node, the number of the leaf; -1 */
    int64_t thresholds, table_words, nodes;
    double scale;       /* of the sigmoid */
    int32_t features, outputs, trees, groups;
    int32_t words;      /* of a row's answers */
    int32_t iterations; /* an averaged forest divides by this; else 0 */
    int32_t transform;
} forest_t;

const char forest_source[] = FOREST_SOURCE; /* the digest of this text: whose build this is */

/* ---- Once, when a model is loaded ---- */

static int words_of(int32_t count) { return (int)(((uint32_t)count + 31) >> 5); }

static int group_is_sound(const forest_t *f, const group_t *g) {
    if (g->feature < 0 || g->feature >= f->features || g->count < 1) return 0;
    if (g->word < 1 || g->word > f->words || words_of(g->count) > f->words - g->word) return 0;
    if (g->first < 0) return 0;
    if (g->levels >= 0) {
        int64_t size = ((int64_t)g->levels + 1) * words_of(g->count);
        return g->first <= f->table_words && size <= f->table_words - g->first;
    }
    if (g->levels != -1 || g->missing < MISSING_NEVER || g->missing > MISSING_NAN) return 0;
    if (g->first > f->thresholds || g->count > f->thresholds - g->first) return 0;
    for (int32_t i = 1; i < g->count; i++)
        if (!(f->threshold[g->first + i - 1] < f->threshold[g->first + i])) return 0;
    return !isnan(f->threshold[g->first]);
}

/* Children stand behind their parent, so that a walk ends; a leaf asks question 0 and leads to itself. */
static int tree_is_sound(const forest_t *f, int64_t first, int64_t end) {
    if (first < 0 || end <= first || end > f->nodes || end - first > (int64_t)CHILD_MASK + 1) return 0;
    uint32_t size = (uint32_t)(end - first);
    for (uint32_t i = 0; i < size; i++) {
        uint32_t question = f->node[first + i] >> CHILD_BITS, child = f->node[first + i] & CHILD_MASK;
        if (question == 0 ? child != i : child <= i || child + 1 >= size) return 0;
        if (question && (question < 32 || question >> 5 >= (uint32_t)f->words)) return 0;
    }
    return 1;
}

/* 0, or what is wrong: 1 sizes, 2 a group of questions, 3 a tree. */
int forest_check(const forest_t *f) {
    if (f->features < 1 || f->outputs < 1 || f->trees < 0 || f->groups < 0 || f->iterations < 0) return 1;
    if (f->words < 1 || f->words > MOST_WORDS || f->thresholds < 0 || f->table_words < 0 || f->nodes < 0) return 1;
    if (f->transform < 0 || f->transform >= TRANSFORMS || f->trees % f->outputs) return 1;
    for (int32_t g = 0; g < f->groups; g++)
        if (!group_is_sound(f, f->group + g)) return 2;
    for (int32_t t = 0; t < f->trees; t++)
        if (!tree_is_sound(f, f->root[t], f->root[t + 1])) return 3;
    return 0;
}

/* ---- The questions of a row ---- */

/* How many thresholds are below x, without a branch that depends on x. */
static int32_t rank_of(const double *threshold, int32_t count, double x) {
    const double *from = threshold;
    for (int32_t left = count; left > 1;) {
        int32_t half = left / 2;
        from += from[half - 1] < x ? half : 0;
        left -= half;
    }
    return (int32_t)(from - threshold) + (*from < x);
}

/* The first `ones` bits are 1, the others 0. A few words: a call of memset would cost more. */
static void fill(uint32_t *word, int32_t ones, int words) {
    for (int i = 0; i < words; i++, ones -= 32) {
        int32_t here = ones < 0 ? 0 : ones > 32 ? 32 : ones;
        word[i] = (uint32_t)((UINT64_C(1) << here) - 1);
    }
}

static void answer_number(const forest_t *f, const group_t *g, double x, uint32_t *word) {
    int missing = g->missing == MISSING_NAN && isnan(x);
    if (isnan(x) || fabs(x) <= ZERO_THRESHOLD) x = 0.0;
    missing |= g->missing == MISSING_ZERO && x == 0.0;
    int32_t right = missing ? (g->missing_left ? 0 : g->count) : rank_of(f->threshold + g->first, g->count, x);
    fill(word, right, words_of(g->count));
}

/* A level is cut to a whole number, as LightGBM does; NaN, negative and unseen ones have the last line of the table. */
static void answer_category(const forest_t *f, const group_t *g, double x, uint32_t *word) {
    int words = words_of(g->count);
    int64_t line = x > -1.0 && x < g->levels ? (int64_t)x : g->levels;
    const uint32_t *answers = f->table + g->first + line * words;
    for (int i = 0; i < words; i++) word[i] = answers[i];
}

static void answer(const forest_t *f, const double *row, uint32_t *bits) {
    bits[0] = 0;
    for (int32_t i = 0; i < f->groups; i++) {
        const group_t *g = f->group + i;
        if (g->levels >= 0)
            answer_category(f, g, row[g->feature], bits + g->word);
        else
            answer_number(f, g, row[g->feature], bits + g->word);
    }
}

/* ---- The walks ---- */

static inline uint32_t step(const uint32_t *node, uint32_t at, const uint32_t *bits) {
    uint32_t it = node[at];
    return (it & CHILD_MASK) + ((bits[it >> (CHILD_BITS + 5)] >> ((it >> CHILD_BITS) & 31)) & 1);
}

#define EACH_LANE _Pragma("GCC unroll 8") for (int k = 0; k < LANES; k++)

/* Until none has moved in the last of three steps: looking after each costs more than a step too many. Inlined and
 * unrolled, so that the eight places are in registers. */
__attribute__((always_inline)) static inline void walk(const uint32_t *const node[LANES], const uint32_t *const bits[LANES],
                                                       uint32_t at[LANES]) {
    uint32_t here[LANES];
    EACH_LANE here[k] = 0;
    for (uint32_t moved = 1; moved;) {
        moved = 0;
        EACH_LANE here[k] = step(node[k], here[k], bits[k]);
        EACH_LANE here[k] = step(node[k], here[k], bits[k]);
        EACH_LANE {
            uint32_t next = step(node[k], here[k], bits[k]);
            moved |= next ^ here[k];
            here[k] = next;
        }
    }
    EACH_LANE at[k] = here[k];
}

/* Eight rows in one tree after the other: the values of their leaves are added, or the numbers are written. */
static void ask_rows(const forest_t *f, const uint32_t *answers, double *sums, int32_t *leaves) {
    const uint32_t *node[LANES], *bits[LANES];
    uint32_t at[LANES];
    const int32_t trees = f->trees, outputs = f->outputs;
    for (int k = 0; k < LANES; k++) bits[k] = answers + (int64_t)k * f->words;
    for (int32_t t = 0, output = 0; t < trees; t++, output = output + 1 < outputs ? output + 1 : 0) {
        const int64_t root = f->root[t];
        for (int k = 0; k < LANES; k++) node[k] = f->node + root;
        walk(node, bits, at);
        if (sums)
            for (int k = 0; k < LANES; k++) sums[k * (int64_t)outputs + output] += f->value[root + at[k]];
        if (leaves)
            for (int k = 0; k < LANES; k++) leaves[k * (int64_t)trees + t] = f->leaf[root + at[k]];
    }
}

/* One row in eight trees at a time; of the last ones, some twice. Values are added in the order of the trees. */
static void ask_row(const forest_t *f, const uint32_t *answers, double *sums, int32_t *leaves) {
    const uint32_t *node[LANES], *bits[LANES];
    uint32_t at[LANES];
    const int32_t trees = f->trees, outputs = f->outputs;
    for (int k = 0; k < LANES; k++) bits[k] = answers;
    for (int32_t first = 0, output = 0; first < trees; first += LANES) {
        int32_t left = trees - first < LANES ? trees - first : LANES;
        for (int k = 0; k < LANES; k++) node[k] = f->node + f->root[first + (k < left ? k : 0)];
        walk(node, bits, at);
        for (int32_t k = 0; k < left; k++) {
            if (sums) sums[output] += f->value[f->root[first + k] + at[k]];
            if (leaves) leaves[first + k] = f->leaf[f->root[first + k] + at[k]];
            output = output + 1 < outputs ? output + 1 : 0;
        }
    }
}

/* ---- From a sum to what the model says ---- */

static void softmax(double *sum, int32_t count) {
    double most = sum[0], total = 0.0;
    for (int32_t i = 1; i < count; i++) most = sum[i] < most ? most : sum[i];
    for (int32_t i = 0; i < count; i++) total += sum[i] = exp(sum[i] - most);
    for (int32_t i = 0; i < count; i++) sum[i] /= total;
}

/* LightGBM's own formulas, operation by operation, with the exp of the system's libm, which it calls too. */
static void finish(const forest_t *f, double *sum) {
    int32_t count = f->outputs;
    if (f->iterations)
        for (int32_t i = 0; i < count; i++) sum[i] /= f->iterations;
    if (f->transform == SOFTMAX) {
        softmax(sum, count);
        return;
    }
    for (int32_t i = 0; i < count; i++) {
        double x = sum[i];
        switch (f->transform) {
            case SIGMOID: sum[i] = 1.0 / (1.0 + exp(-f->scale * x)); break;
            case EXPONENTIAL: sum[i] = exp(x); break;
            case LOG_ONE_PLUS_EXPONENTIAL: sum[i] = log1p(exp(x)); break;
            case SIGNED_SQUARE: sum[i] = (double)((x > 0) - (x < 0)) * x * x; break;
            default: break;
        }
    }
}

/* ---- What Python calls ---- */

/* `rows`: count × features. `scratch`: LANES × words. `sums`: count × outputs, or nothing; `leaves`: count × trees, or nothing. */
void forest_ask(const forest_t *f, const double *rows, int64_t count, uint32_t *scratch, double *sums, int32_t *leaves) {
    if (sums) memset(sums, 0, sizeof *sums * (size_t)count * (size_t)f->outputs);
    for (int64_t row = 0; row < count;) {
        int together = count - row >= LANES;
        double *sum = sums ? sums + row * f->outputs : 0;
        int32_t *leaf = leaves ? leaves + row * f->trees : 0;
        int64_t asked = together ? LANES : 1;
        for (int64_t k = 0; k < asked; k++) answer(f, rows + (row + k) * f->features, scratch + k * f->words);
        (together ? ask_rows : ask_row)(f, scratch, sum, leaf);
        for (int64_t k = 0; sum && k < asked; k++) finish(f, sum + k * f->outputs);
        row += asked;
    }
}
