import {createRoot} from 'react-dom/client'
import {App} from './app.tsx'
import {startLive} from './live/live.ts'
import {startRooms} from './live/rooms.ts'
import {loadSession} from './session.ts'
import './styles/base.css'
import './styles/parts.css'
import './styles/pages.css'
import './styles/chat.css'

startRooms()
startLive()
void loadSession()
const root = document.getElementById('root')!
// A fault of ours must not leave an empty page.
const onUncaughtError = (error: unknown) => {
  reportError(error)
  root.textContent = 'Something went wrong on this page. Reload it, and you are back; what you wrote is kept.'
}
createRoot(root, {onUncaughtError}).render(<App />)
