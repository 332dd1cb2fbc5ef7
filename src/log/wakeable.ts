/** Lets many wait for one thing to happen next. Take `next()` before looking whether it has happened already. */
export const wakeable = () => {
  let wake = () => {}
  let promise = new Promise<void>((resolve) => {
    wake = resolve
  })
  return {
    next: (): Promise<void> => promise,
    all: (): void => {
      const woken = wake
      promise = new Promise((resolve) => {
        wake = resolve
      })
      woken()
    },
  }
}
