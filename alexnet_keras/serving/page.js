// Posts images to the server, one at a time, and shows its answers. Nothing is stored, nothing is fetched from elsewhere.

const LIVE_SIDE = 384 // pixels of the camera's frames: more than the network reads
const QUALITY = 0.92 // of their JPEG
const PAUSE = 500 // ms, after a frame that the server did not take
const ANNOUNCED = 3000 // ms between announcements of the camera's class, which a screen reader speaks

const element = (id) => document.getElementById(id)
const [drop, files, camera, video] = ["drop", "files", "camera", "video"].map(element)
const mostBytes = Number(files.dataset.mostBytes)
const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`

function made(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties)
  node.append(...children)
  return node
}

function tell(sentence) {
  element("status").textContent = sentence
}

function problem(sentence) {
  return made("p", { className: "problem", role: "alert", textContent: sentence })
}

// Answers

async function ask(path, blob) {
  if (blob.size > mostBytes) throw new Error(`This file has more than ${mostBytes / 2 ** 20} MiB.`)
  const body = await blob.arrayBuffer().catch(() => {
    throw new Error("This cannot be read: it is a folder, or was moved.")
  })
  const headers = { "Content-Type": "application/octet-stream" }
  const response = await fetch(path, { method: "POST", body, headers }).catch(() => {
    throw new Error("There is no answer from the server: it was stopped, or the connection is broken.")
  })
  const answer = await response.json().catch(() => ({ error: `The server answered ${response.status}.` }))
  if (answer.error) throw new Error(answer.error)
  return answer
}

function showGuesses(list, predictions) {
  while (list.children.length > predictions.length) list.lastChild.remove()
  predictions.forEach((each, rank) => {
    if (!list.children[rank]) {
      const parts = ["name", "share", "bar"].map((className) => made("span", { className }))
      parts[2].append(made("span"))
      list.append(made("li", {}, ...parts))
    }
    const [name, share, bar] = list.children[rank].children
    name.textContent = each.title.includes(each.class) ? each.title : `${each.title} (${each.class})`
    share.textContent = percent(each.probability)
    bar.firstChild.style.width = `${100 * each.probability}%`
  })
}

function show(image, { source, width, height, alt }) {
  return Object.assign(image, { src: source, width, height, alt })
}

function figure(image, ...caption) {
  return made("figure", {}, show(made("img"), image), made("figcaption", {}, ...caption))
}

function fill(article, answer) {
  const part = (selector) => article.querySelector(selector)
  const [best] = answer.predictions
  show(part(".crop"), answer.crop)
  show(part(".heat"), answer.heat)
  part(".heat + figcaption").textContent = `Where it looked for ${best.title}`
  showGuesses(part(".guesses"), answer.predictions)
  const [first] = answer.maps
  part(".maps summary").textContent = `The first layer's maps (${first.layer})`
  part(".towers").append(
    ...answer.maps.map((maps) => figure(maps.image, `Tower ${maps.tower}: ${maps.count} maps; each by its own scale, white is zero`)),
  )
  if (!answer.nearest) return
  part(".nearest-part").hidden = false
  part(".nearest-part h3").textContent = answer.nearest_title
  part(".nearest").append(
    ...answer.nearest.map(({ title, distance, image }) => {
      const quiet = made("span", { className: "quiet", textContent: `distance ${distance.toPrecision(3)}` })
      return made("li", {}, figure(image, title, made("br"), quiet))
    }),
  )
}

let queue = Promise.resolve()

function explainAll(blobs) {
  const batch = made("div")
  element("answers").prepend(batch)
  element("clear").hidden = false
  blobs.forEach((blob, number) => {
    const place = blobs.length > 1 ? ` (${number + 1} of ${blobs.length})` : ""
    queue = queue.then(() => explain(blob, batch, place))
  })
}

async function explain(blob, batch, place) {
  if (!batch.isConnected) return // removed while it waited
  const name = blob.name ?? "Frame of the camera"
  tell(`Looking at ${name}${place} …`)
  const article = element("answer").content.cloneNode(true).firstElementChild
  article.querySelector(".name").textContent = name
  try {
    const answer = await ask("/explain", blob)
    fill(article, answer)
    article.querySelector(".maps").open = !place // one image alone is shown with everything
    batch.append(article)
    const [best] = answer.predictions
    tell(`${name}${place}: ${best.title}, ${percent(best.probability)}.`)
  } catch (error) {
    batch.append(problem(`${name}: ${error.message}`))
    tell("")
  }
}

// Files: chosen, dropped, pasted

function take(list) {
  const blobs = [...list]
  if (blobs.length) explainAll(blobs)
}

files.addEventListener("change", () => {
  take(files.files)
  files.value = "" // so that the same file can be chosen again
})
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  window.addEventListener(kind, (event) => {
    event.preventDefault()
    drop.classList.toggle("over", kind === "dragover" || kind === "dragenter")
    if (kind !== "drop") return
    take(event.dataTransfer.files)
    if (!event.dataTransfer.files.length) tell("What was dropped is no file.")
  })
}
window.addEventListener("paste", (event) => take(event.clipboardData.files))
element("clear").addEventListener("click", () => {
  element("answers").replaceChildren()
  element("clear").hidden = true
  tell("All answers are removed.")
  files.focus()
})

// The camera: live, one frame at a time

let stream = null

const CAMERA_PROBLEMS = {
  NotAllowedError: "The browser does not allow this page the camera.",
  NotFoundError: "There is no camera.",
  NotReadableError: "Another program uses the camera.",
}

async function start() {
  element("problem").replaceChildren()
  element("camera-on").disabled = true
  try {
    if (!navigator.mediaDevices) {
      throw new Error("The browser gives a page the camera only over HTTPS, or at this machine's own address 127.0.0.1.")
    }
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } })
    stream.getVideoTracks()[0].addEventListener("ended", stop) // unplugged, or forbidden again
    video.srcObject = stream
    await video.play()
    camera.hidden = false
    element("camera-off").focus()
    live(stream)
  } catch (error) {
    stop()
    element("problem").append(problem(CAMERA_PROBLEMS[error.name] ?? error.message))
  }
}

function stop() {
  stream?.getTracks().forEach((track) => track.stop())
  stream = video.srcObject = null
  camera.hidden = true
  element("camera-on").disabled = false
}

function frame(most) {
  const side = Math.min(video.videoWidth, video.videoHeight)
  const canvas = made("canvas", { width: Math.min(side, most), height: Math.min(side, most) })
  const [left, top] = [(video.videoWidth - side) / 2, (video.videoHeight - side) / 2]
  canvas.getContext("2d").drawImage(video, left, top, side, side, 0, 0, canvas.width, canvas.height)
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY))
}

async function live(mine) {
  let [announced, title, rate] = [0, "", 0]
  while (stream === mine) {
    const began = performance.now()
    try {
      if (document.hidden) throw new Error("Paused while the page is hidden.")
      const { predictions } = await ask("/classify", await frame(LIVE_SIDE))
      if (stream !== mine) return
      showGuesses(element("live"), predictions)
      const now = performance.now()
      rate = rate ? 0.9 * rate + 100 / (now - began) : 1000 / (now - began)
      element("rate").textContent = `${rate.toFixed(rate < 10 ? 1 : 0)} frames a second`
      if (predictions[0].title !== title && now - announced > ANNOUNCED) {
        ;[announced, title] = [now, predictions[0].title]
        tell(`The camera shows: ${title}.`)
      }
    } catch (error) {
      element("rate").textContent = error.message
      await new Promise((resolve) => setTimeout(resolve, PAUSE))
    }
  }
}

element("camera-on").addEventListener("click", start)
element("camera-off").addEventListener("click", () => {
  stop()
  tell("The camera is off.")
  element("camera-on").focus()
})
element("keep").addEventListener("click", async () => take([await frame(Infinity)].filter(Boolean)))
