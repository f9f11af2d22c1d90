// Browsers start no Worker from a file. Where the site is read from a folder, the search's worker runs in a hidden frame.
if (location.protocol === 'file:') {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement('iframe')
      this.ready = new Promise(resolve => {
        frame.onload = () => {
          const inside = frame.contentWindow
          inside.postMessage = data => this.dispatchEvent(new MessageEvent('message', { data }))
          const script = inside.document.createElement('script')
          script.src = new URL(url, document.baseURI)
          script.onload = () => resolve(inside)
          inside.document.body.append(script)
        }
      })
      frame.hidden = true
      frame.srcdoc = '<!doctype html>'
      document.body.append(frame)
    }

    postMessage(data) {
      this.ready.then(inside => inside.dispatchEvent(new inside.MessageEvent('message', { data })))
    }
  }
}
