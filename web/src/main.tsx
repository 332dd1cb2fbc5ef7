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
createRoot(document.getElementById('root')!).render(<App />)
