"""What verdicts and the parts of the article are called, in both languages."""

MARKS = {"holds": "✓", "holds if": "◐", "false": "✗", "not checkable": "?"}
CHINESE = {
    "holds": "成立",
    "holds if": "有条件成立",
    "false": "不成立",
    "not checkable": "无法检验",
}
PARTS = {  # English, Chinese
    "1": ("Background", "背景介绍"),
    "2": ("Core concepts", "核心概念与联系"),
    "3": ("The algorithm", "核心算法原理"),
    "4": ("Formulas", "数学模型和公式"),
    "5": ("The project", "项目实践"),
    "6": ("Applications", "实际应用场景"),
    "7": ("Tools and papers", "工具和资源推荐"),
    "8": ("Trends and challenges", "未来发展趋势与挑战"),
    "9": ("Questions", "常见问题与解答"),
}
