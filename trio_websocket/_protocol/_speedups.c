/* The shortcut for whole data frames, compiled (RFC 6455 section 5).

   Theory of operation
   ===================

   This is lane.py once more: the same six functions with the same results. What a
   plain frame is, and why everything else is left to wsproto, is said there.

   The rules that keep it safe:

   * Nothing that the peer wrote is believed before it was compared with what is in the
     buffer. A length is compared as "length > size - head", never "head + length >
     size": the difference of two sizes cannot overflow.
   * Nothing is allocated for a length that a header announces, only for payload that
     is here.
   * Text is decoded and encoded by the interpreter, so that both lanes mean the same by
     UTF-8. Its UnicodeError means "not plain: stop here"; any other exception, and
     MemoryError above all, is handed on.
   * Words are read and written with memcpy, which knows neither alignment nor aliasing.
     Compilers make vector instructions of the loops.
   * There is no state: nothing is kept between two calls, and one interpreter cannot
     see another. An object that somebody else could drop meanwhile is held by a strong
     reference; memory that somebody else could move, by a buffer.

   Only what the stable ABI of Python 3.11 has is used, with and without Py_LIMITED_API:
   free-threaded Python has no stable ABI and is built for by itself. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <string.h>

#if defined(_MSC_VER)
#define RESTRICT __restrict
#else
#define RESTRICT restrict
#endif

enum {
    FINAL_TEXT = 0x81, /* FIN, no reserved bit, and the opcode */
    FINAL_BINARY = 0x82,
    COMPRESSED_TEXT = 0xC1, /* with RSV1 (RFC 7692 section 6) */
    COMPRESSED_BINARY = 0xC2,
    MASKED = 0x80,
    LENGTH = 0x7F,
    TWO_BYTE_LENGTH = 126,
    EIGHT_BYTE_LENGTH = 127,
    KEY_SIZE = 4,
    MAX_HEADER_SIZE = 14,
    FIRST_BATCH_SIZE = 4096, /* bytes */
    STACK_SCRATCH_SIZE = 1024 /* bytes: most masked text needs no allocation */
};


/* Numbers in network byte order. */

static uint64_t
read_number(const uint8_t *data, Py_ssize_t size)
{
    uint64_t number = 0;
    for (Py_ssize_t i = 0; i < size; i++) {
        number = number << 8 | data[i];
    }
    return number;
}

static void
write_number(uint8_t *target, Py_ssize_t size, uint64_t number)
{
    for (Py_ssize_t i = size; i-- > 0;) {
        target[i] = (uint8_t)(number & 0xFF);
        number >>= 8;
    }
}


/* Masking (RFC 6455 section 5.3). */

typedef struct {
    uint8_t bytes[KEY_SIZE];
} Key;

/* Turn a key so that it begins with the byte for a position in the payload. */
static Key
key_at(const uint8_t *key, Py_ssize_t position)
{
    Key turned;
    for (Py_ssize_t i = 0; i < KEY_SIZE; i++) {
        turned.bytes[i] = key[(position % KEY_SIZE + i) % KEY_SIZE];
    }
    return turned;
}

/* The key twice; as its bytes are copied, the byte order of the machine is the same. */
static uint64_t
key_word(Key key)
{
    uint64_t word;
    memcpy(&word, key.bytes, KEY_SIZE);
    memcpy((uint8_t *)&word + KEY_SIZE, key.bytes, KEY_SIZE);
    return word;
}

/* Mask from one piece of memory to another; the two do not overlap. */
static void
mask_across(uint8_t *RESTRICT target, const uint8_t *RESTRICT source, Py_ssize_t size,
            Key key)
{
    const uint64_t word = key_word(key);
    Py_ssize_t i = 0;
    for (; i <= size - 8; i += 8) {
        uint64_t chunk;
        memcpy(&chunk, source + i, 8);
        chunk ^= word;
        memcpy(target + i, &chunk, 8);
    }
    for (; i < size; i++) {
        target[i] = source[i] ^ key.bytes[i % KEY_SIZE];
    }
}

static void
mask_in_place(uint8_t *target, Py_ssize_t size, Key key)
{
    const uint64_t word = key_word(key);
    Py_ssize_t i = 0;
    for (; i <= size - 8; i += 8) {
        uint64_t chunk;
        memcpy(&chunk, target + i, 8);
        chunk ^= word;
        memcpy(target + i, &chunk, 8);
    }
    for (; i < size; i++) {
        target[i] ^= key.bytes[i % KEY_SIZE];
    }
}

/* Mask whatever the two pieces of memory have in common. */
static void
mask_memory(uint8_t *target, const uint8_t *source, Py_ssize_t size, Key key)
{
    /* As numbers: pointers into two objects cannot be compared. */
    const uintptr_t to = (uintptr_t)target;
    const uintptr_t from = (uintptr_t)source;
    const uintptr_t distance = to < from ? from - to : to - from;
    if (distance >= (uintptr_t)size) {
        mask_across(target, source, size, key);
        return;
    }
    if (distance > 0) {
        memmove(target, source, (size_t)size);
    }
    mask_in_place(target, size, key);
}


/* Arguments. */

static int
check_count(const char *name, Py_ssize_t given, Py_ssize_t wanted)
{
    if (given == wanted) {
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "%s() takes exactly %zd arguments (%zd given)", name,
                 wanted, given);
    return -1;
}

/* Read an integer. One that is too large becomes the largest, which is as good. */
static int
read_integer(PyObject *object, Py_ssize_t *value)
{
    *value = PyNumber_AsSsize_t(object, NULL);
    return *value == -1 && PyErr_Occurred() ? -1 : 0;
}

static int
read_position(PyObject *object, Py_ssize_t size, Py_ssize_t *value)
{
    if (read_integer(object, value) < 0) {
        return -1;
    }
    if (*value < 0 || *value > size) {
        PyErr_SetString(PyExc_ValueError, "the start is not within the data");
        return -1;
    }
    return 0;
}

static int
read_bytes(PyObject *object, const char *name, const uint8_t **data, Py_ssize_t *size)
{
    if (!PyBytes_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s must be bytes", name);
        return -1;
    }
    *data = (const uint8_t *)PyBytes_AsString(object);
    *size = PyBytes_Size(object);
    return 0;
}

static int
read_key(PyObject *object, const uint8_t **key)
{
    Py_ssize_t size;
    if (read_bytes(object, "a masking key", key, &size) < 0) {
        return -1;
    }
    if (size != KEY_SIZE) {
        PyErr_SetString(PyExc_ValueError, "a masking key must have four bytes");
        return -1;
    }
    return 0;
}

/* Get memory to write to. That there is none is a mistake in a type, as in Python. */
static int
get_target(PyObject *object, Py_buffer *target)
{
    if (PyObject_GetBuffer(object, target, PyBUF_WRITABLE) == 0) {
        return 0;
    }
    if (PyErr_ExceptionMatches(PyExc_BufferError)) {
        PyErr_SetString(PyExc_TypeError, "the target must be memory to write to");
    }
    return -1;
}

/* Build a tuple of an object, whose reference is taken, and a number. */
static PyObject *
build_pair(PyObject *first, Py_ssize_t number)
{
    PyObject *pair = NULL;
    PyObject *second = PyLong_FromSsize_t(number);
    if (second != NULL) {
        pair = PyTuple_Pack(2, first, second);
        Py_DECREF(second);
    }
    Py_DECREF(first);
    return pair;
}


/* Decoding. */

/* Where masked text is unmasked before it is decoded. */
typedef struct {
    uint8_t stack[STACK_SCRATCH_SIZE];
    uint8_t *heap; /* or NULL */
    Py_ssize_t heap_size;
} Scratch;

static uint8_t *
reserve_scratch(Scratch *scratch, Py_ssize_t size)
{
    if (size <= STACK_SCRATCH_SIZE) {
        return scratch->stack;
    }
    if (size > scratch->heap_size) {
        PyMem_Free(scratch->heap);
        scratch->heap_size = 0;
        scratch->heap = PyMem_Malloc((size_t)size);
        if (scratch->heap == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        scratch->heap_size = size;
    }
    return scratch->heap;
}

typedef struct {
    uint8_t first_byte;
    const uint8_t *key; /* or NULL */
    const uint8_t *payload;
    Py_ssize_t size; /* of the payload */
} Frame;

/* Find a frame that is whole at the beginning of the data, whatever its first byte.

   Returns whether there is one. */
static int
find_frame(const uint8_t *data, Py_ssize_t size, int is_masked, Py_ssize_t max_size,
           Frame *frame)
{
    if (size < 2 || (data[1] & MASKED) != (is_masked ? MASKED : 0)) {
        return 0;
    }
    Py_ssize_t head = 2;
    uint64_t length = data[1] & LENGTH;
    if (length >= TWO_BYTE_LENGTH) {
        const int is_longest = length == EIGHT_BYTE_LENGTH;
        head += is_longest ? 8 : 2;
        if (size < head) {
            return 0;
        }
        length = read_number(data + 2, head - 2);
        if (length <= (is_longest ? UINT16_MAX : 125)) {
            return 0; /* written longer than need be */
        }
    }
    frame->key = is_masked ? data + head : NULL;
    head += is_masked ? KEY_SIZE : 0;
    if (size < head || max_size < 0 || length > (uint64_t)(size - head)
        || length > (uint64_t)max_size) {
        return 0;
    }
    frame->first_byte = data[0];
    frame->payload = data + head;
    frame->size = (Py_ssize_t)length;
    return 1;
}

static PyObject *
decode_text(const Frame *frame, Scratch *scratch)
{
    const uint8_t *payload = frame->payload;
    if (frame->key != NULL) {
        uint8_t *target = reserve_scratch(scratch, frame->size);
        if (target == NULL) {
            return NULL;
        }
        mask_across(target, payload, frame->size, key_at(frame->key, 0));
        payload = target;
    }
    return PyUnicode_DecodeUTF8((const char *)payload, frame->size, NULL);
}

static PyObject *
decode_binary(const Frame *frame)
{
    if (frame->key == NULL) {
        return PyBytes_FromStringAndSize((const char *)frame->payload, frame->size);
    }
    PyObject *message = PyBytes_FromStringAndSize(NULL, frame->size);
    if (message != NULL) {
        uint8_t *target = (uint8_t *)PyBytes_AsString(message);
        mask_across(target, frame->payload, frame->size, key_at(frame->key, 0));
    }
    return message;
}

/* Put the message of a frame behind the others.

   Returns 1 if that was done, 0 if the frame is not plain after all, -1 on error. */
static int
append_message(PyObject *messages, const Frame *frame, Scratch *scratch)
{
    PyObject *message =
        frame->first_byte == FINAL_TEXT ? decode_text(frame, scratch) : decode_binary(frame);
    if (message == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
            return -1;
        }
        PyErr_Clear();
        return 0;
    }
    const int status = PyList_Append(messages, message);
    Py_DECREF(message);
    return status < 0 ? -1 : 1;
}

PyDoc_STRVAR(decode_doc, "decode($module, data, start, is_client, limit, max_size, /)\n"
                         "--\n\n"
                         "Take plain messages from received bytes.");

/* Take messages from data, into a list whose reference is taken. */
static PyObject *
decode_frames(PyObject *messages, const uint8_t *data, Py_ssize_t size, Py_ssize_t start,
              int is_client, Py_ssize_t limit, Py_ssize_t max_size)
{
    Frame frame;
    Scratch scratch;
    scratch.heap = NULL;
    scratch.heap_size = 0;
    int status = 1;
    for (; limit > 0; limit--) {
        if (!find_frame(data + start, size - start, !is_client, max_size, &frame)
            || (frame.first_byte != FINAL_TEXT && frame.first_byte != FINAL_BINARY)) {
            break;
        }
        status = append_message(messages, &frame, &scratch);
        if (status <= 0) {
            break;
        }
        start = frame.payload + frame.size - data;
    }
    PyMem_Free(scratch.heap);
    if (status < 0) {
        Py_DECREF(messages);
        return NULL;
    }
    return build_pair(messages, start);
}

/* Take payloads from data, as above. */
static PyObject *
cut_frames(PyObject *payloads, const uint8_t *data, Py_ssize_t size, Py_ssize_t start,
           int is_client, Py_ssize_t limit, Py_ssize_t max_size)
{
    Frame frame;
    const uint8_t first_byte = start < size ? data[start] : 0;
    if (first_byte != COMPRESSED_TEXT && first_byte != COMPRESSED_BINARY) {
        limit = 0;
    }
    for (; limit > 0; limit--) {
        if (!find_frame(data + start, size - start, !is_client, max_size, &frame)
            || frame.first_byte != first_byte) {
            break;
        }
        PyObject *payload = decode_binary(&frame);
        const int status = payload == NULL ? -1 : PyList_Append(payloads, payload);
        Py_XDECREF(payload);
        if (status < 0) {
            Py_DECREF(payloads);
            return NULL;
        }
        start = frame.payload + frame.size - data;
    }
    return build_pair(payloads, start);
}

typedef PyObject *(*Take)(PyObject *, const uint8_t *, Py_ssize_t, Py_ssize_t, int,
                          Py_ssize_t, Py_ssize_t);

/* Read the arguments, and take what is wanted. */
static PyObject *
take(const char *name, PyObject *const *args, Py_ssize_t nargs, Take take_frames)
{
    Py_buffer data;
    Py_ssize_t start;
    Py_ssize_t limit;
    Py_ssize_t max_size;
    if (check_count(name, nargs, 5) < 0
        || PyObject_GetBuffer(args[0], &data, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    PyObject *result = NULL;
    if (read_position(args[1], data.len, &start) == 0
        && read_integer(args[3], &limit) == 0 && read_integer(args[4], &max_size) == 0) {
        const int is_client = PyObject_IsTrue(args[2]);
        PyObject *messages = is_client < 0 ? NULL : PyList_New(0);
        if (messages != NULL) {
            result = take_frames(messages, data.buf, data.len, start, is_client, limit,
                                 max_size);
        }
    }
    PyBuffer_Release(&data);
    return result;
}

static PyObject *
decode(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    return take("decode", args, nargs, decode_frames);
}

PyDoc_STRVAR(cut_doc, "cut($module, data, start, is_client, limit, max_size, /)\n"
                      "--\n\n"
                      "Take the payloads of compressed messages.");

static PyObject *
cut(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    return take("cut", args, nargs, cut_frames);
}


/* Encoding. */

typedef struct {
    PyObject *owner; /* of the payload */
    const uint8_t *payload;
    Py_ssize_t size;
    uint8_t first_byte; /* of the frame */
} Message;

/* Read a message that is text or bytes; whoever did gives its owner back.

   The UTF-8 of text is not asked for in the way that keeps it: the program would find
   that what it sends has doubled in size. */
static int
read_message(PyObject *object, Message *message)
{
    if (PyUnicode_Check(object)) {
        message->owner = PyUnicode_AsUTF8String(object);
        if (message->owner == NULL) {
            return -1;
        }
        message->first_byte = FINAL_TEXT;
    } else if (PyBytes_Check(object)) {
        message->owner = Py_NewRef(object);
        message->first_byte = FINAL_BINARY;
    } else {
        PyErr_SetString(PyExc_TypeError, "a message must be str or bytes");
        return -1;
    }
    message->payload = (const uint8_t *)PyBytes_AsString(message->owner);
    message->size = PyBytes_Size(message->owner);
    return 0;
}

static Py_ssize_t
measure_frame(const Message *message, int is_masked)
{
    Py_ssize_t head = is_masked ? 2 + KEY_SIZE : 2;
    if (message->size > UINT16_MAX) {
        head += 8;
    } else if (message->size >= TWO_BYTE_LENGTH) {
        head += 2;
    }
    return head + message->size; /* no object is so large that this overflows */
}

/* Write a frame where there is room for what was measured. */
static void
write_frame(uint8_t *target, const Message *message, const uint8_t *key)
{
    const uint8_t flag = key == NULL ? 0 : MASKED;
    *target++ = message->first_byte;
    if (message->size < TWO_BYTE_LENGTH) {
        *target++ = flag | (uint8_t)message->size;
    } else {
        const int is_longest = message->size > UINT16_MAX;
        const Py_ssize_t length_size = is_longest ? 8 : 2;
        *target++ = flag | (is_longest ? EIGHT_BYTE_LENGTH : TWO_BYTE_LENGTH);
        write_number(target, length_size, (uint64_t)message->size);
        target += length_size;
    }
    if (key == NULL) {
        memcpy(target, message->payload, (size_t)message->size);
        return;
    }
    memcpy(target, key, KEY_SIZE);
    mask_across(target + KEY_SIZE, message->payload, message->size, key_at(key, 0));
}

PyDoc_STRVAR(encode_doc, "encode($module, message, masking_key, /)\n"
                         "--\n\n"
                         "Build the one frame of a message.");

static PyObject *
encode(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    const uint8_t *key = NULL;
    Message message;
    if (check_count("encode", nargs, 2) < 0
        || (args[1] != Py_None && read_key(args[1], &key) < 0)
        || read_message(args[0], &message) < 0) {
        return NULL;
    }
    PyObject *frame =
        PyBytes_FromStringAndSize(NULL, measure_frame(&message, key != NULL));
    if (frame != NULL) {
        write_frame((uint8_t *)PyBytes_AsString(frame), &message, key);
    }
    Py_DECREF(message.owner);
    return frame;
}

PyDoc_STRVAR(wrap_doc, "wrap($module, first, payload, masking_key, /)\n"
                       "--\n\n"
                       "Build a frame.");

static PyObject *
wrap(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    const uint8_t *key = NULL;
    Py_ssize_t first_byte;
    Message message;
    if (check_count("wrap", nargs, 3) < 0
        || (args[2] != Py_None && read_key(args[2], &key) < 0)
        || read_bytes(args[1], "a payload", &message.payload, &message.size) < 0
        || read_integer(args[0], &first_byte) < 0) {
        return NULL;
    }
    message.owner = args[1];
    message.first_byte = (uint8_t)(first_byte & 0xFF);
    PyObject *frame =
        PyBytes_FromStringAndSize(NULL, measure_frame(&message, key != NULL));
    if (frame != NULL) {
        write_frame((uint8_t *)PyBytes_AsString(frame), &message, key);
    }
    return frame;
}

/* Frames, one behind the other, in memory that grows. */
typedef struct {
    uint8_t *data; /* or NULL */
    Py_ssize_t capacity;
    Py_ssize_t used;
    Py_ssize_t max_size;
} Batch;

/* Make room behind what is there; the batch may be that large. */
static int
reserve_batch(Batch *batch, Py_ssize_t size)
{
    if (size <= batch->capacity - batch->used) {
        return 0;
    }
    Py_ssize_t capacity = batch->max_size;
    if (batch->capacity <= capacity / 2) {
        capacity = batch->capacity * 2;
    }
    if (capacity < FIRST_BATCH_SIZE) {
        capacity = FIRST_BATCH_SIZE;
    }
    if (capacity < batch->used + size) {
        capacity = batch->used + size;
    }
    uint8_t *data = PyMem_Realloc(batch->data, (size_t)capacity);
    if (data == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    batch->data = data;
    batch->capacity = capacity;
    return 0;
}

/* Put the frame of a message behind the others.

   Returns 1 if that was done, 0 if it does not fit or cannot be sent, -1 on error. */
static int
append_frame(Batch *batch, PyObject *object, const uint8_t *key)
{
    Message message;
    if (!PyUnicode_CheckExact(object) && !PyBytes_CheckExact(object)) {
        return 0;
    }
    if (read_message(object, &message) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
            return -1;
        }
        PyErr_Clear();
        return 0;
    }
    int status = 0;
    const Py_ssize_t size = measure_frame(&message, key != NULL);
    if (size <= batch->max_size - batch->used) {
        status = reserve_batch(batch, size);
        if (status == 0) {
            write_frame(batch->data + batch->used, &message, key);
            batch->used += size;
            status = 1;
        }
    }
    Py_DECREF(message.owner);
    return status;
}

static int
read_keys(PyObject *object, Py_ssize_t count, const uint8_t **keys)
{
    Py_ssize_t size;
    if (read_bytes(object, "the masking keys", keys, &size) < 0) {
        return -1;
    }
    if (size / KEY_SIZE < count) {
        PyErr_SetString(PyExc_ValueError, "there are not enough masking keys");
        return -1;
    }
    return 0;
}

PyDoc_STRVAR(encode_batch_doc,
             "encode_batch($module, messages, start, masking_keys, max_size, /)\n"
             "--\n\n"
             "Build the frames of messages until they are too long together.");

static PyObject *
encode_batch(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    Py_ssize_t start;
    const uint8_t *keys = NULL;
    Batch batch = {NULL, 0, 0, 0};
    if (check_count("encode_batch", nargs, 4) < 0) {
        return NULL;
    }
    const Py_ssize_t count = PySequence_Size(args[0]);
    if (count < 0 || read_position(args[1], count, &start) < 0
        || (args[2] != Py_None && read_keys(args[2], count - start, &keys) < 0)
        || read_integer(args[3], &batch.max_size) < 0) {
        return NULL;
    }
    int status = 1;
    while (start < count) {
        PyObject *object = PySequence_GetItem(args[0], start);
        status = object == NULL ? -1 : append_frame(&batch, object, keys);
        Py_XDECREF(object);
        if (status <= 0) {
            break;
        }
        start++;
        keys = keys == NULL ? NULL : keys + KEY_SIZE;
    }
    PyObject *frames = NULL;
    if (status >= 0) {
        frames = PyBytes_FromStringAndSize((const char *)batch.data, batch.used);
    }
    PyMem_Free(batch.data);
    return frames == NULL ? NULL : build_pair(frames, start);
}


/* Masking, for what is not one whole frame. */

static int
mask_buffers(const Py_buffer *target, const Py_buffer *source, PyObject *const *args)
{
    Py_ssize_t start;
    Py_ssize_t stop;
    const uint8_t *key;
    if (read_integer(args[2], &start) < 0 || read_integer(args[3], &stop) < 0
        || read_key(args[4], &key) < 0) {
        return -1;
    }
    if (start < 0 || stop < start || stop > source->len || stop - start > target->len) {
        PyErr_SetString(PyExc_ValueError, "the range is not within both buffers");
        return -1;
    }
    mask_memory(target->buf, (const uint8_t *)source->buf + start, stop - start,
                key_at(key, start));
    return 0;
}

PyDoc_STRVAR(mask_doc, "mask($module, target, source, start, stop, masking_key, /)\n"
                       "--\n\n"
                       "Mask or unmask a part of a payload.");

static PyObject *
mask(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    Py_buffer target;
    Py_buffer source;
    int status = -1;
    if (check_count("mask", nargs, 5) < 0 || get_target(args[0], &target) < 0) {
        return NULL;
    }
    if (PyObject_GetBuffer(args[1], &source, PyBUF_SIMPLE) == 0) {
        status = mask_buffers(&target, &source, args);
        PyBuffer_Release(&source);
    }
    PyBuffer_Release(&target);
    return status < 0 ? NULL : Py_NewRef(Py_None);
}


/* The module. */

/* By way of a type that all functions have: the compiler would take it for a mistake. */
#define METHOD(name) \
    {#name, (PyCFunction)(void (*)(void))(name), METH_FASTCALL, name##_doc}

static PyMethodDef methods[] = {
    METHOD(decode), METHOD(encode),       METHOD(cut),
    METHOD(wrap),   METHOD(encode_batch), METHOD(mask),
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_speedups",
    .m_doc = "The shortcut for whole data frames, compiled.",
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__speedups(void)
{
    return PyModuleDef_Init(&definition);
}
